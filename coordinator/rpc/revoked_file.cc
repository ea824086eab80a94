#include "coordinator/rpc/revoked_file.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <utility>

#include "common/io/file.h"
#include "common/utf8.h"

namespace rivulet {
namespace {

constexpr uint64_t kMaxFile = uint64_t{4} << 20;
constexpr size_t kMostDigits = 40;  // 20 bytes: RFC 5280, section 4.1.2.2
constexpr size_t kShown = 80;

// One line as Identity::serial is written: lower-case hex, two digits a byte; "" for none.
std::string SerialIn(std::string_view line) {
  std::string serial;
  for (const char letter : line.substr(0, line.find('#'))) {
    const auto byte = static_cast<unsigned char>(letter);
    if (letter != ':' && std::isspace(byte) == 0) serial += static_cast<char>(std::tolower(byte));
  }
  return serial.size() % 2 == 0 ? serial : "0" + serial;
}

}  // namespace

absl::StatusOr<std::set<std::string>> ParseSerials(std::string_view text) {
  std::set<std::string> serials;
  for (size_t row = 1; !text.empty(); ++row) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::string serial = SerialIn(line);
    if (serial.empty()) continue;
    const bool hex = std::all_of(serial.begin(), serial.end(),
                                 [](unsigned char c) { return std::isxdigit(c) != 0; });
    if (!hex || serial.size() > kMostDigits) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "line " + std::to_string(row) + ": got '" + Tidy(line, kShown) +
                        "', want the serial of a certificate, 1 to 40 hex digits");
    }
    serials.insert(serial);
  }
  return serials;
}

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
