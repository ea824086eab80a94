#include "common/status.h"

#include <cstdlib>
#include <string>

namespace rivulet {
namespace {

constexpr char kRemedyUrl[] = "rivulet/remedy";
constexpr char kExitUrl[] = "rivulet/exit";

int ReadNumber(const absl::Status& status, const char* url, int absent) {
  const auto payload = status.GetPayload(url);
  return payload.has_value() ? std::atoi(std::string(*payload).c_str()) : absent;
}

}  // namespace

absl::Status Refuse(absl::StatusCode code, std::string_view message, Remedy remedy) {
  if (code == absl::StatusCode::kOk) std::abort();
  absl::Status status(code, absl::string_view(message.data(), message.size()));
  if (remedy != Remedy::kNone) {
    status.SetPayload(kRemedyUrl, absl::Cord(std::to_string(static_cast<int>(remedy))));
  }
  return status;
}

Remedy RemedyOf(const absl::Status& status) {
  const int value = ReadNumber(status, kRemedyUrl, 0);
  return value >= 1 && value <= 3 ? static_cast<Remedy>(value) : Remedy::kNone;
}

absl::Status WithExit(absl::Status status, ExitCode exit) {
  if (!status.ok()) status.SetPayload(kExitUrl, absl::Cord(std::to_string(static_cast<int>(exit))));
  return status;
}

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return ExitCode::kOk;
  if (const int value = ReadNumber(status, kExitUrl, -1); value >= 0)
    return static_cast<ExitCode>(value);
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnavailable:
      return ExitCode::kConnection;
    case absl::StatusCode::kResourceExhausted:
      return ExitCode::kResource;
    default:
      return ExitCode::kFailure;
  }
}

absl::Status WithDefaultExit(absl::Status status, ExitCode exit) {
  return ExitCodeOf(status) == ExitCode::kFailure ? WithExit(std::move(status), exit) : status;
}

absl::Status Annotate(const absl::Status& status, std::string_view where) {
  if (status.ok()) return status;
  absl::Status out(status.code(), std::string(where) + ": " + std::string(status.message()));
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
  return out;
}

}  // namespace rivulet
