#include "privacy/secagg/shared/reason.h"

#include <string>

namespace rivulet::secagg {
namespace {

constexpr char kReasonUrl[] = "rivulet/secagg-reason";

struct ReasonRow {
  std::string_view name;
  absl::StatusCode code;
};

constexpr ReasonRow kReasons[] = {
    {"POLICY", absl::StatusCode::kPermissionDenied},
    {"PARAMS", absl::StatusCode::kInvalidArgument},
    {"MODEL_MISMATCH", absl::StatusCode::kFailedPrecondition},
    {"ROSTER_SELF", absl::StatusCode::kFailedPrecondition},
    {"ROSTER_SIGNATURE", absl::StatusCode::kUnauthenticated},
    {"ROSTER_DUPLICATE", absl::StatusCode::kFailedPrecondition},
    {"ROSTER_SMALL", absl::StatusCode::kFailedPrecondition},
    {"GRAPH", absl::StatusCode::kFailedPrecondition},
    {"NONCE", absl::StatusCode::kFailedPrecondition},
    {"SHARE_OPEN", absl::StatusCode::kFailedPrecondition},
    {"U2", absl::StatusCode::kFailedPrecondition},
    {"U3", absl::StatusCode::kFailedPrecondition},
    {"QUORUM", absl::StatusCode::kFailedPrecondition},
    {"SECOND_U3", absl::StatusCode::kFailedPrecondition},
    {"ALREADY_REVEALED", absl::StatusCode::kFailedPrecondition},
    {"DEADLINE", absl::StatusCode::kDeadlineExceeded},
    {"LOW_ORDER", absl::StatusCode::kInvalidArgument},
    {"RANGE", absl::StatusCode::kDataLoss},
    {"CHECKSUM", absl::StatusCode::kDataLoss},
    {"RECONSTRUCT", absl::StatusCode::kUnavailable},
    {"GROUP", absl::StatusCode::kFailedPrecondition},
};

const ReasonRow& RowOf(Reason reason) { return kReasons[static_cast<size_t>(reason) - 1]; }

}  // namespace

std::string_view NameOf(Reason reason) { return RowOf(reason).name; }

std::optional<Reason> ReasonFrom(uint8_t number) {
  if (number < 1 || number > std::size(kReasons)) return std::nullopt;
  return static_cast<Reason>(number);
}

absl::Status RefuseFor(Reason reason, std::string_view message) {
  const ReasonRow& row = RowOf(reason);
  absl::Status status = Refuse(row.code, std::string(row.name) + ": " + std::string(message));
  status.SetPayload(kReasonUrl, absl::Cord(std::to_string(static_cast<int>(reason))));
  return status;
}

std::optional<Reason> ReasonOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kReasonUrl);
  if (!payload.has_value()) return std::nullopt;
  const int number = std::atoi(std::string(*payload).c_str());
  return number < 0 || number > 255 ? std::nullopt : ReasonFrom(static_cast<uint8_t>(number));
}

}  // namespace rivulet::secagg
