#include "client/runtime/task_work.h"

#include <spdlog/spdlog.h>

#include <cmath>

#include "client/agent/failure_report.h"
#include "client/agent/task_check.h"
#include "client/runtime/task_runner.h"
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
    RV_RETURN_IF_ERROR(CheckBaseModel(row->second, base_hash));
    return row->second.path;
  }

  absl::StatusOr<ClientData> Data(const std::string&, const JobSpec& spec,
                                  const Tokenizer& tokenizer, int max_positions) override {
    const std::string& name = spec.data.dataset;
    const auto row = policy_.datasets.find(name);
    if (row == policy_.datasets.end()) return NotHere("data set '" + name + "'");
    absl::StatusOr<RecordList> list = ReadRecords(row->second, spec.data);
    if (!list.ok()) return Reported(list.status(), name, row->second);
    LogMalformed(name, *list);
    absl::StatusOr<ClientData> data =
        BuildClientData(list->records, spec.data, tokenizer, max_positions);
    if (!data.ok()) return Reported(data.status(), name, row->second);
    return data;
  }

 private:
  static absl::Status NotHere(const std::string& what) {
    const std::string text = what + " is not offered here";
    return WithReport(
        WithExit(Refuse(absl::StatusCode::kFailedPrecondition, text), ExitCode::kPolicy),
        "refused_policy", text);
  }

  static void LogMalformed(const std::string& name, const RecordList& list) {
    if (list.malformed == 0) return;
    spdlog::warn("data set '{}': {} malformed records skipped, {} used", name, list.malformed,
                 list.records.size());
    for (const std::string& problem : list.problems)
      spdlog::warn("data set '{}': {}", name, problem);
  }

  // The message begins with the file's path and quotes records: the report says name, line and
  // kind.
  static absl::Status Reported(const absl::Status& status, const std::string& name,
                               const std::filesystem::path& file) {
    const std::string text = "data set '" + name + "'" +
                             LineIn(std::string(status.message()), file) + ": " +
                             KindOf(status.code());
    return WithReport(status, "bad_data", text);
  }

  // " line 17" of "<file>:17: ...".
  static std::string LineIn(std::string_view message, const std::filesystem::path& file) {
    const std::string start = file.string() + ":";
    if (!message.starts_with(start)) return "";
    message.remove_prefix(start.size());
    const size_t end = message.find_first_not_of("0123456789");
    if (end == 0 || end == std::string_view::npos || message[end] != ':') return "";
    return " line " + std::string(message.substr(0, end));
  }

  static std::string KindOf(absl::StatusCode code) {
    switch (code) {
      case absl::StatusCode::kInvalidArgument:
        return "a record or setting that does not fit the job";
      case absl::StatusCode::kNotFound:
        return "the file is missing";
      case absl::StatusCode::kPermissionDenied:
        return "the file may not be read";
      case absl::StatusCode::kOutOfRange:
        return "the file is too large";
      default:
        return "the file cannot be read";
    }
  }

  const Policy& policy_;
};

constexpr double kLossUnit = 1048576;  // 2^20: sums of many agents are exact

class TaskWork final : public LocalWork {
 public:
  TaskWork(const Policy& policy, std::string name, UpdateEncoder encoder,
           const std::filesystem::path& state_directory)
      : policy_(policy),
        name_(std::move(name)),
        resources_(policy),
        runner_(resources_, {}, std::move(encoder),
                std::make_unique<ExampleLedger>(state_directory)) {}

  absl::Status Check(const Assignment& task) override { return CheckTask(policy_, task); }

  absl::StatusOr<WorkResult> Do(const Assignment& task, StateFile state,
                                const std::function<bool()>& cancelled) override {
    RV_RETURN_IF_ERROR(Check(task));
    const LocalTask local = LocalOf(task);
    if (task.kind == Assignment::Kind::kEvaluate) return Evaluate(local, state, cancelled);
    RV_ASSIGN_OR_RETURN(LocalUpdate update, runner_.Train(local, state, cancelled));
    WorkResult result;
    result.outcome.kind = Outcome::Kind::kTrained;
    result.outcome.examples = update.examples;
    result.outcome.tokens = update.tokens;
    result.outcome.steps = update.steps;
    result.outcome.loss = update.loss;
    result.outcome.grad_norm = update.grad_norm;
    result.file = std::move(update.file);
    result.masked = std::move(update.masked);
    return result;
  }

  std::optional<uint64_t> MissingLog(const Assignment& task) override {
    return runner_.MissingLog(LocalOf(task));
  }
  absl::StatusOr<std::string> CatchUp(const Assignment& task, std::string_view rest,
                                      std::string_view snapshot,
                                      const std::function<bool()>& cancelled) override {
    return runner_.CatchUp(LocalOf(task), rest, cancelled, snapshot);
  }

  bool LacksLog(const Assignment& task) override {
    return task.kind == Assignment::Kind::kTrain && runner_.LacksLog(LocalOf(task));
  }
  absl::Status TakeLog(const Assignment& task, std::string_view log) override {
    return runner_.TakeLog(LocalOf(task), log);
  }

  void Accepted(const TaskKey& key) override { runner_.Accepted(LocalOf(key, "")); }
  void Propose(const TaskKey& key, const UpdateEncoder::MaskedExtras& made) override {
    runner_.Propose(LocalOf(key, ""), made);
  }

 private:
  LocalTask LocalOf(const TaskKey& key, const std::string& document) const {
    return {name_, document, key.round, key.job, key.attempt};
  }
  LocalTask LocalOf(const Assignment& task) const {
    LocalTask local = LocalOf(task.key, task.job_document);
    local.state_sha256 = task.state_sha256;
    local.log = task.log;
    local.state_bytes = task.state_bytes;
    local.project_gradient = policy_.backprop;
    local.session_root = task.session_root;
    local.choice = task.choice;
    return local;
  }

  absl::StatusOr<WorkResult> Evaluate(const LocalTask& task, const StateFile& state,
                                      const std::function<bool()>& cancelled) {
    RV_ASSIGN_OR_RETURN(const EvaluationSums sums, runner_.Evaluate(task, state, cancelled));
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

std::unique_ptr<LocalWork> NewTaskWork(const Policy& policy, const std::string& name,
                                       const std::filesystem::path& state_directory,
                                       RoundingMaker rounding) {
  return std::make_unique<TaskWork>(
      policy, name, UpdateEncoder(OpenResidualDirectory(state_directory), std::move(rounding)),
      state_directory);
}

}  // namespace rivulet
