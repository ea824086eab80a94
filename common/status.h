#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace rivulet {

// What the peer should do next. absl::StatusCode says what went wrong and maps one-to-one onto gRPC
// codes; Remedy survives the trip in the status payload.
enum class Remedy { kNone = 0, kRetryLater = 1, kResync = 2, kLeaveRun = 3 };

// Exit codes of every Rivulet program; `rivulet help exit-codes` prints the same table.
enum class ExitCode {
  kOk = 0,
  kFailure = 1,        // anything not listed below
  kUsage = 2,          // unknown option, missing argument, no confirmation
  kConfig = 3,         // configuration or job file
  kConnection = 4,     // unreachable, certificate, role
  kJobFailed = 5,      // quorum never reached, node errors above the limit
  kBudget = 6,         // privacy budget exhausted
  kState = 8,          // state store damaged, locked, or of another schema
  kPolicy = 9,         // refused by policy; wrong base model
  kResource = 10,      // memory or disk would not suffice
  kInterrupted = 130,  // SIGINT
};

// An error whose message names the thing, the value seen and the value wanted:
//   Refuse(absl::StatusCode::kInvalidArgument, "lora.lora-r: got 0, want 1..1024",
//   Remedy::kLeaveRun).
// `code` must not be kOk.
absl::Status Refuse(absl::StatusCode code, std::string_view message, Remedy remedy = Remedy::kNone);
Remedy RemedyOf(const absl::Status& status);  // kNone when OK or absent

// Attaches the exit code a program ends with when this error reaches main.
absl::Status WithExit(absl::Status status, ExitCode exit);
// The attached exit code; without one: kOk for OK, kConnection for Unauthenticated,
// PermissionDenied and Unavailable, kResource for ResourceExhausted, kFailure otherwise.
ExitCode ExitCodeOf(const absl::Status& status);

// The same, unless the error brings an exit code of its own or its kind implies one.
absl::Status WithDefaultExit(absl::Status status, ExitCode exit);

// "where: message", same code and payloads. For a caller that knows the file or the tensor.
absl::Status Annotate(const absl::Status& status, std::string_view where);

}  // namespace rivulet

#define RV_RETURN_IF_ERROR(expr)                                               \
  do {                                                                         \
    if (absl::Status rv_status_ = (expr); !rv_status_.ok()) return rv_status_; \
  } while (false)

#define RV_CONCAT_INNER_(a, b) a##b
#define RV_CONCAT_(a, b) RV_CONCAT_INNER_(a, b)
#define RV_ASSIGN_OR_RETURN(lhs, expr) RV_ASSIGN_OR_RETURN_(RV_CONCAT_(rv_or_, __LINE__), lhs, expr)
#define RV_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                         \
  if (!tmp.ok()) return tmp.status();        \
  lhs = std::move(*tmp)
