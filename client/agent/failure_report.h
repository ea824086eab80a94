#pragma once

#include <string>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// What the coordinator is told of a failed task: a code of federation.proto and a sentence without
// paths or data. The message of the error itself stays in this machine's log.
struct FailureReport {
  std::string code;
  std::string text;
};

// Attaches the report to an error, where it is known what may be said. `code` has no line break.
absl::Status WithReport(absl::Status status, std::string_view code, std::string_view text);

// Of this machine's disk: one that is full (ResourceExhausted) is reported as disk_full.
absl::Status OfTheDisk(absl::Status status);

// The attached report; without one, a sentence that says no more than the kind of error.
FailureReport ReportOf(const absl::Status& status);

}  // namespace rivulet
