#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <tuple>

#include "common/status.h"
#include "coordinator/rpc/access.h"
#include "privacy/crypto/serials.h"

namespace rivulet {

// A file of revoked certificates, read again whenever it changes. Used from one thread.
class RevokedFile {
 public:
  // `access` must outlive it.
  RevokedFile(std::filesystem::path path, Access& access);

  // Passes the list on if the file is another one than last time; an absent file revokes nobody.
  // Errors, once for each version of the file and with exit code 3: those of ParseSerials and of
  // reading. The list of before stays in force.
  absl::Status Refresh();

 private:
  using Version = std::tuple<ino_t, off_t, int64_t>;  // inode, size, time of change in ns

  const std::filesystem::path path_;
  Access& access_;
  Version seen_{};
};

}  // namespace rivulet
