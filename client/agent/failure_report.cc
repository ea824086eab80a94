#include "client/agent/failure_report.h"

namespace rivulet {
namespace {

constexpr char kReportUrl[] = "rivulet/report";  // code, line break, text

std::string CodeOf(const absl::Status& status) {
  if (ExitCodeOf(status) == ExitCode::kPolicy) return "refused_policy";
  if (status.code() == absl::StatusCode::kResourceExhausted) return "out_of_memory";
  if (status.code() == absl::StatusCode::kInvalidArgument) return "bad_data";
  return "failed";
}

}  // namespace

absl::Status WithReport(absl::Status status, std::string_view code, std::string_view text) {
  status.SetPayload(kReportUrl, absl::Cord(std::string(code) + "\n" + std::string(text)));
  return status;
}

absl::Status OfTheDisk(absl::Status status) {
  if (status.code() != absl::StatusCode::kResourceExhausted) return status;
  return WithReport(std::move(status), "disk_full", "the agent's disk is full");
}

FailureReport ReportOf(const absl::Status& status) {
  if (const auto payload = status.GetPayload(kReportUrl)) {
    const std::string report(*payload);
    const size_t line_break = report.find('\n');
    return {report.substr(0, line_break), report.substr(line_break + 1)};
  }
  return {CodeOf(status), "the local work ended with " + absl::StatusCodeToString(status.code()) +
                              "; the agent's log says why"};
}

}  // namespace rivulet
