#include "common/rpc/status_mapping.h"

#include <charconv>
#include <string>

namespace rivulet {
namespace {

constexpr char kRemedyKey[] = "rivulet-remedy";
constexpr char kExitKey[] = "rivulet-exit";
constexpr char kExitUrl[] = "rivulet/exit";
constexpr size_t kMaxMessage = 2048;  // trailers share 8 KiB

int NumberIn(const grpc::ClientContext& context, const char* key) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto row = trailers.find(key);
  if (row == trailers.end()) return -1;
  int value = -1;
  std::from_chars(row->second.begin(), row->second.end(), value);
  return value;
}

bool IsExitCode(int value) { return (value >= 0 && value <= 10) || value == 130; }

}  // namespace

grpc::Status ToGrpc(const absl::Status& status, grpc::ServerContextBase& context) {
  if (status.ok()) return grpc::Status::OK;
  if (const Remedy remedy = RemedyOf(status); remedy != Remedy::kNone) {
    context.AddTrailingMetadata(kRemedyKey, std::to_string(static_cast<int>(remedy)));
  }
  if (status.GetPayload(kExitUrl).has_value()) {
    context.AddTrailingMetadata(kExitKey, std::to_string(static_cast<int>(ExitCodeOf(status))));
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message().substr(0, kMaxMessage)));
}

absl::Status FromGrpc(const grpc::Status& status, const grpc::ClientContext& context) {
  if (status.ok()) return absl::OkStatus();
  const int remedy = NumberIn(context, kRemedyKey);
  absl::Status out =
      Refuse(static_cast<absl::StatusCode>(status.error_code()), status.error_message(),
             remedy >= 1 && remedy <= 3 ? static_cast<Remedy>(remedy) : Remedy::kNone);
  const int exit = NumberIn(context, kExitKey);
  return IsExitCode(exit) ? WithExit(out, static_cast<ExitCode>(exit)) : out;
}

}  // namespace rivulet
