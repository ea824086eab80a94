#include "client/runtime/task_work.h"

#include <cmath>

#include "client/runtime/task_runner.h"
#include "common/job/job_document.h"
#include "peft/data/client_data.h"
#include "peft/data/record_reader.h"

namespace rivulet {
namespace {

class PolicyResources final : public LocalResources {
 public:
  explicit PolicyResources(const Policy& policy) : policy_(policy) {}

  absl::StatusOr<std::filesystem::path> BaseModel(const JobSpec&,
                                                  const std::string& base_hash) override {
    const auto row = policy_.base_models.find(base_hash);
    if (row == policy_.base_models.end()) return NotHere("base model " + base_hash);
    return row->second;
  }

  absl::StatusOr<ClientData> Data(const std::string&, const JobSpec& spec,
                                  const Tokenizer& tokenizer, int max_positions) override {
    const auto row = policy_.datasets.find(spec.data.dataset);
    if (row == policy_.datasets.end()) return NotHere("data set '" + spec.data.dataset + "'");
    RV_ASSIGN_OR_RETURN(const RecordList list, ReadRecords(row->second, spec.data));
    return BuildClientData(list.records, spec.data, tokenizer, max_positions);
  }

 private:
  static absl::Status NotHere(const std::string& what) {
    return WithExit(Refuse(absl::StatusCode::kFailedPrecondition, what + " is not offered here"),
                    ExitCode::kPolicy);
  }
  const Policy& policy_;
};

constexpr double kLossUnit = 1048576;  // 2^20: sums of many agents are exact

class TaskWork final : public LocalWork {
 public:
  TaskWork(const Policy& policy, std::string name)
      : policy_(policy), name_(std::move(name)), resources_(policy), runner_(resources_) {}

  absl::StatusOr<WorkResult> Do(const Assignment& task, std::string_view state,
                                const std::function<bool()>& cancelled) override {
    RV_ASSIGN_OR_RETURN(const JobDocument document, ParseJobDocument(task.job_document));
    RV_RETURN_IF_ERROR(policy_.Check(document));
    const LocalTask local{name_, task.job_document, task.key.round};
    if (task.kind == Assignment::Kind::kEvaluate) return Evaluate(local, state);
    RV_ASSIGN_OR_RETURN(LocalUpdate update, runner_.Train(local, state, cancelled));
    WorkResult result;
    result.outcome.kind = Outcome::Kind::kTrained;
    result.outcome.examples = update.examples;
    result.outcome.tokens = update.tokens;
    result.outcome.steps = update.steps;
    result.outcome.loss = update.loss;
    result.outcome.grad_norm = update.grad_norm;
    result.file = std::move(update.file);
    return result;
  }

 private:
  absl::StatusOr<WorkResult> Evaluate(const LocalTask& task, std::string_view state) {
    RV_ASSIGN_OR_RETURN(const EvaluationSums sums, runner_.Evaluate(task, state));
    WorkResult result;
    result.outcome.kind = Outcome::Kind::kEvaluated;
    result.outcome.loss_fixed = std::llround(sums.loss * kLossUnit);
    result.outcome.counted = sums.counted;
    result.outcome.correct = sums.correct;
    return result;
  }

  const Policy& policy_;
  const std::string name_;
  PolicyResources resources_;
  TaskRunner runner_;
};

}  // namespace

std::unique_ptr<LocalWork> NewTaskWork(const Policy& policy, const std::string& name) {
  return std::make_unique<TaskWork>(policy, name);
}

}  // namespace rivulet
