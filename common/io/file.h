#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "common/io/sha256.h"
#include "common/status.h"

namespace rivulet {

// Reads a whole regular file of at most `max_bytes`.
// Errors: NotFound; FailedPrecondition (not a regular file); OutOfRange when larger, naming size
// and limit; Internal on a read error.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path, uint64_t max_bytes);

// Writes `bytes` so that a crash leaves the old file or the new one, never a mixture: temporary
// sibling, fsync, rename, fsync of the directory. `mode` are the permissions of a new file. Errors:
// NotFound (directory), PermissionDenied, ResourceExhausted (disk full, if only at the
// fsync), DataLoss when an fsync failed otherwise: the caller must stop then, Linux may have
// dropped the pages.
absl::Status WriteFileAtomically(const std::filesystem::path& path, std::string_view bytes,
                                 int mode = 0644);

// fsync of a directory, so that a rename in it is durable.
absl::Status SyncDirectory(const std::filesystem::path& directory);

// SHA-256 of a file, read in pieces. Errors as ReadFile, without a limit.
absl::StatusOr<Sha256Digest> Sha256OfFile(const std::filesystem::path& path);

// "path: verb: strerror" with the absl code that fits `error` (an errno).
absl::Status FileError(const std::filesystem::path& path, std::string_view verb, int error);

// A read-only mapping of a whole file. Movable; unmapped on destruction. The operator's own files
// only: a file that a peer can still change must be copied first.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::filesystem::path& path);
  MappedFile() = default;
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace rivulet
