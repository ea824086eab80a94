#include "client/agent/task_check.h"

#include "client/agent/failure_report.h"
#include "common/job/job_model.h"
#include "common/job/validate_private.h"

namespace rivulet {
namespace {

// At least the size of a safetensors file of these tensors: with its header, which has a row of
// name, type, shape and offsets for each.
uint64_t LargestFileOf(const Manifest& manifest) {
  constexpr uint64_t kHeader = 4096, kRow = 256;
  uint64_t bytes = kHeader + SizeBytesOf(manifest);
  for (const TensorSpec& spec : manifest) bytes += kRow + spec.name.size();
  return bytes;
}

// A coordinator that leaves the masks out would be sent what the job hides from it.
absl::Status CheckMasks(const JobDocument& document, const Assignment& task) {
  const bool wanted = document.spec.secure_aggregation.enabled;
  if (task.kind != Assignment::Kind::kTrain || wanted == !task.masking.empty()) {
    return absl::OkStatus();
  }
  const std::string text = wanted ? "task: got no masks, but secure-aggregation.enabled = true"
                                  : "task: got masks, but secure-aggregation.enabled = false";
  return WithReport(Refuse(absl::StatusCode::kInvalidArgument, text), "failed", text);
}

// A round is a draw of groups and as many more as attempts are allowed: were there rounds beyond
// the job's, a coordinator could go on until it likes one.
absl::Status CheckRound(const JobDocument& document, const Assignment& task) {
  const auto rounds = static_cast<uint64_t>(document.spec.job.num_rounds);
  if (task.masking.empty() || (task.key.round >= 1 && task.key.round <= rounds)) {
    return absl::OkStatus();
  }
  const std::string text = "task: got round " + std::to_string(task.key.round) +
                           " under masks, want 1.." + std::to_string(rounds);
  return WithReport(Refuse(absl::StatusCode::kInvalidArgument, text), "failed", text);
}

absl::Status TooLarge(std::string_view what, uint64_t bytes, uint64_t most) {
  const std::string text = "task: got " + std::string(what) + " of " + std::to_string(bytes) +
                           " bytes, want at most " + std::to_string(most) + " for this job";
  return WithReport(Refuse(absl::StatusCode::kInvalidArgument, text), "failed", text);
}

// A pool's log is one record, and fetched even where the state is shorter; others only where they
// are shorter than what is stored, a snapshot and what was logged since.
absl::Status CheckLog(const JobDocument& document, const Assignment& task, uint64_t state) {
  constexpr uint64_t kNumber = 4, kHead = 16;
  const int pool = document.spec.scalars.pool;
  const uint64_t most = kHead + kNumber * static_cast<uint64_t>(pool);
  if (!task.log) return absl::OkStatus();
  if (InTwoPasses(document.spec) && task.log->bytes > state) {
    return TooLarge("a mean of a first pass", task.log->bytes, state);
  }
  if (pool > 0 && task.log->bytes > most) return TooLarge("a log", task.log->bytes, most);
  if (!task.log->snapshot) return absl::OkStatus();
  if (task.log->snapshot->bytes > state) {
    return TooLarge("a snapshot", task.log->snapshot->bytes, state);
  }
  if (pool > 0 || task.log->tail() <= state) return absl::OkStatus();
  return TooLarge("a log since its snapshot", task.log->tail(), state);
}

}  // namespace

absl::Status CheckTask(const Policy& policy, const Assignment& task) {
  RV_ASSIGN_OR_RETURN(const JobDocument document, ParseJobDocument(task.job_document));
  RV_RETURN_IF_ERROR(policy.Check(document));
  RV_RETURN_IF_ERROR(CheckMasks(document, task));
  RV_RETURN_IF_ERROR(CheckRound(document, task));
  RV_ASSIGN_OR_RETURN(const JobModel model, JobModelOf(document));
  const uint64_t limit = LargestFileOf(model.plan.wire());
  if (task.state_bytes > limit) return TooLarge("a global state", task.state_bytes, limit);
  return CheckLog(document, task, limit);
}

}  // namespace rivulet
