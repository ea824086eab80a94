#include "coordinator/rpc/revoked_file.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "common/io/file.h"

namespace rivulet {
namespace {

constexpr uint64_t kMaxFile = uint64_t{4} << 20;

}  // namespace

RevokedFile::RevokedFile(std::filesystem::path path, Access& access)
    : path_(std::move(path)), access_(access) {}

absl::Status RevokedFile::Refresh() {
  struct stat info {};
  const bool there = stat(path_.c_str(), &info) == 0;
  const int error = there || errno == ENOENT ? 0 : errno;
  Version version{info.st_ino, info.st_size,
                  int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec};
  if (error != 0) version = Version(0, -1, error);  // no file has that size
  if (version == seen_) return absl::OkStatus();
  seen_ = version;
  if (error != 0) return WithExit(FileError(path_, "stat", error), ExitCode::kConfig);
  std::string text;
  if (there) {
    absl::StatusOr<std::string> read = ReadFile(path_, kMaxFile);
    if (!read.ok()) return WithExit(read.status(), ExitCode::kConfig);
    text = *std::move(read);
  }
  absl::StatusOr<std::set<std::string>> serials = ParseSerials(text);
  if (!serials.ok()) {
    return WithExit(Annotate(serials.status(), path_.string()), ExitCode::kConfig);
  }
  spdlog::info("{}: {} certificates are revoked", path_.string(), serials->size());
  access_.SetRevoked(*std::move(serials));
  return absl::OkStatus();
}

}  // namespace rivulet
