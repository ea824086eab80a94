#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// A file that appears under its name only when it is whole: written to a temporary sibling, then
// fsync, rename, fsync of the directory. Dropped without Commit, it leaves nothing. For contents
// that do not fit in memory; WriteFileAtomically (file.h) does the same for one string. Not thread
// safe.
class AtomicFile {
 public:
  // `mode` are the permissions of a new file. Errors: NotFound (directory), PermissionDenied,
  // ResourceExhausted.
  static absl::StatusOr<AtomicFile> Create(const std::filesystem::path& path, int mode = 0644);
  ~AtomicFile();
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) noexcept;

  // Errors: ResourceExhausted when the disk is full; the file is then spent.
  absl::Status Append(std::string_view bytes);
  absl::Status Append(std::span<const std::byte> bytes);

  // Errors: ResourceExhausted when the disk turns out to be full; DataLoss when an fsync failed for
  // another reason: the caller must stop then, Linux may have dropped the pages, and the new file
  // may be under its name without being durable. After any other error it is not.
  absl::Status Commit();

 private:
  struct State;
  explicit AtomicFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace rivulet
