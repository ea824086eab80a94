#include "peft/tools/verbs.h"

namespace rivulet {

ExitCode ExitCodeOfModelTool(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return ExitCode::kConfig;
    case absl::StatusCode::kPermissionDenied:  // of a file: no peer is involved
      return ExitCode::kFailure;
    default:
      return ExitCodeOf(status);
  }
}

}  // namespace rivulet
