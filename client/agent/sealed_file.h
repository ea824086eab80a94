#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// A file of secrets that can be destroyed: AES-256-GCM under a key of its own in a small file. A
// file that is replaced or unlinked leaves its bytes on the disk; here they are worth nothing once
// the key's 32 bytes are overwritten. No protection from who reads the disk before that, and none
// where writing in place does not overwrite (copy-on-write file systems, snapshots, the spare
// blocks of flash). Not thread safe.
//   file  iv (12 bytes), cipher text, tag (16); its name is authenticated
//   key   32 bytes; all zero: destroyed
struct SealedFile {
  std::filesystem::path file;
  std::filesystem::path key;

  // Replaces the text, durably; draws a key when there is none. Errors: those of
  // WriteFileAtomically and ReadFile.
  absl::Status Write(std::string_view text) const;
  // Errors: NotFound without a key; InvalidArgument when the text is not what was written; those of
  // ReadFile.
  absl::StatusOr<std::string> Read(uint64_t max_bytes) const;
  // Overwrites the key, then removes both. Errors: those of the file system; both are removed then
  // too.
  absl::Status Destroy() const;
};

}  // namespace rivulet
