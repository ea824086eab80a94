#include <algorithm>
#include <regex>

#include "common/job/job_keys.h"
#include "common/job/job_spec.h"

namespace rivulet {
namespace {

absl::Status Bad(const std::string& message) {
  return WithExit(Refuse(absl::StatusCode::kInvalidArgument, message), ExitCode::kConfig);
}

bool IsName(const std::string& text) {
  static const std::regex kName("[a-z0-9][a-z0-9-]{0,62}");
  return std::regex_match(text, kName);
}

absl::Status CheckJob(const JobSection& job) {
  if (!IsName(job.name)) {
    return Bad("job.name: got \"" + job.name +
               "\", want 1 to 63 of [a-z0-9-], not starting with a hyphen");
  }
  if (job.clients_per_round > 0 && job.fraction_train < 1.0) {
    return Bad("job.clients-per-round = " + std::to_string(job.clients_per_round) +
               " and job.fraction-train = " + NumberText(job.fraction_train) +
               ": want one of them; leave fraction-train at 1.0");
  }
  if (job.clients_per_round > 0 && job.min_clients > job.clients_per_round) {
    return Bad("job.min-clients = " + std::to_string(job.min_clients) +
               " and job.clients-per-round = " + std::to_string(job.clients_per_round) +
               ": want min-clients <= clients-per-round");
  }
  if (job.selection == "all" && (job.clients_per_round > 0 || job.fraction_train < 1.0)) {
    return Bad(
        "job.selection = \"all\" with job.clients-per-round or job.fraction-train: want selection "
        "= \"random\" to "
        "choose a part of the clients");
  }
  return absl::OkStatus();
}

absl::Status CheckModel(const ModelSection& model) {
  static const std::regex kHash("sha256:[0-9a-f]{64}");
  if (!model.hash.empty() && !std::regex_match(model.hash, kHash)) {
    return Bad("model.hash: got \"" + model.hash + "\", want sha256:<64 hex digits>");
  }
  if (model.name.empty())
    return Bad("model.name: got \"\", want the name or folder of the base model");
  return absl::OkStatus();
}

absl::Status CheckData(const DataSection& data) {
  const bool classes = data.task == "classification";
  if (classes && data.format == "text") {
    return Bad(
        "data.task = \"classification\" and data.format = \"text\": want format = \"jsonl\", "
        "\"json\" or \"tsv\"");
  }
  if (!classes && data.format == "tsv") {
    return Bad(
        "data.task = \"causal-lm\" and data.format = \"tsv\": want task = \"classification\", or "
        "another format");
  }
  if (data.format == "text" && data.template_name != "plain") {
    return Bad("data.template = \"" + data.template_name +
               "\" and data.format = \"text\": want template = \"plain\"");
  }
  if (!data.separator.empty() && data.format != "text") {
    return Bad("data.separator and data.format = \"" + data.format +
               "\": only text files have separators");
  }
  std::vector<std::string> labels = data.labels;
  std::sort(labels.begin(), labels.end());
  if (const auto twice = std::adjacent_find(labels.begin(), labels.end()); twice != labels.end()) {
    return Bad("data.labels: got '" + *twice + "' twice, want distinct names");
  }
  if (!labels.empty() && !classes)
    return Bad("data.labels with data.task = \"causal-lm\": want task = \"classification\"");
  if (labels.size() == 1) return Bad("data.labels: got 1 label, want at least 2");
  return absl::OkStatus();
}

absl::Status CheckTrain(const TrainSection& train) {
  if (train.max_steps == 0 && train.local_epochs == 0) {
    return Bad("train.max-steps = 0 and train.local-epochs = 0: want one of them above 0");
  }
  if (train.optimizer == "adamw" && train.momentum != 0) {
    return Bad("train.momentum = " + NumberText(train.momentum) +
               " and train.optimizer = \"adamw\": want optimizer = \"sgd\", or adam-beta1");
  }
  return absl::OkStatus();
}

absl::Status CheckStrategy(const JobSpec& spec) {
  const StrategySection& strategy = spec.strategy;
  if (strategy.weighting == "capped" && strategy.weight_cap == 0) {
    return Bad("strategy.weighting = \"capped\" and strategy.weight-cap = 0: want weight-cap >= 1");
  }
  if (strategy.aggregation == "freeze-a" && spec.method != "lora") {
    return Bad("strategy.aggregation = \"freeze-a\" and [" + spec.method +
               "]: only [lora] has a factor A to freeze; want aggregation = \"factor-average\"");
  }
  return absl::OkStatus();
}

absl::Status CheckLora(const LoraSection& lora) {
  for (const std::string& target : lora.lora_target_modules) {
    const bool alone = target == "all-linear" || target.starts_with("regex:");
    if (alone && lora.lora_target_modules.size() > 1) {
      return Bad("lora.lora-target-modules: got '" + target +
                 "' beside others, want it alone or only names");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status JobSpec::Validate() const {
  for (const JobKey& key : JobKeys()) RV_RETURN_IF_ERROR(CheckRange(key, *this));
  RV_RETURN_IF_ERROR(CheckJob(job));
  RV_RETURN_IF_ERROR(CheckModel(model));
  if (method == "lora") RV_RETURN_IF_ERROR(CheckLora(lora));
  RV_RETURN_IF_ERROR(CheckData(data));
  RV_RETURN_IF_ERROR(CheckTrain(train));
  RV_RETURN_IF_ERROR(CheckStrategy(*this));
  if (simulate.partition == "by-key" && simulate.partition_key.empty()) {
    return Bad(
        "simulate.partition = \"by-key\" and simulate.partition-key = \"\": want a field or "
        "\"regex:<pattern>\"");
  }
  return absl::OkStatus();
}

}  // namespace rivulet
