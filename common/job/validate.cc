#include <algorithm>
#include <regex>
#include <set>

#include "common/formats/regex.h"
#include "common/job/bad_job.h"
#include "common/job/job_keys.h"
#include "common/job/job_spec.h"
#include "common/job/key_tables.h"
#include "common/job/validate_parts.h"
#include "common/job/validate_private.h"

namespace rivulet {
namespace {

// "regex:<pattern>": the pattern must compile.
absl::Status CheckPattern(const char* key, const std::string& text) {
  if (!text.starts_with("regex:")) return absl::OkStatus();
  const absl::Status compiled = Regex::CompileWhole(text.substr(6)).status();
  return compiled.ok() ? compiled
                       : BadJob(std::string(key) + ": " + std::string(compiled.message()));
}

bool IsName(const std::string& text) {
  static const std::regex kName("[a-z0-9][a-z0-9-]{0,62}");
  return std::regex_match(text, kName);
}

absl::Status CheckJob(const JobSection& job) {
  if (!IsName(job.name)) {
    return BadJob("job.name: got \"" + job.name +
                  "\", want 1 to 63 of [a-z0-9-], not starting with a hyphen");
  }
  if (job.clients_per_round > 0 && job.fraction_train < 1.0) {
    return BadJob("job.clients-per-round = " + std::to_string(job.clients_per_round) +
                  " and job.fraction-train = " + NumberText(job.fraction_train) +
                  ": want one of them; leave fraction-train at 1.0");
  }
  if (job.clients_per_round > 0 && job.min_clients > job.clients_per_round) {
    return BadJob("job.min-clients = " + std::to_string(job.min_clients) +
                  " and job.clients-per-round = " + std::to_string(job.clients_per_round) +
                  ": want min-clients <= clients-per-round");
  }
  if (job.min_available_clients > 0 && job.min_available_clients < job.min_clients) {
    return BadJob("job.min-available-clients = " + std::to_string(job.min_available_clients) +
                  " and job.min-clients = " + std::to_string(job.min_clients) +
                  ": want min-available-clients >= min-clients, or 0");
  }
  if (job.selection == "all" && job.over_selection > 1) {
    return BadJob(
        "job.selection = \"all\" and job.over-selection = " + NumberText(job.over_selection) +
        ": nobody is left to invite; want over-selection = 1.0");
  }
  if (job.selection == "all" && (job.clients_per_round > 0 || job.fraction_train < 1.0)) {
    return BadJob(
        "job.selection = \"all\" with job.clients-per-round or job.fraction-train: want selection "
        "= \"random\" to "
        "choose a part of the clients");
  }
  return absl::OkStatus();
}

absl::Status CheckModel(const ModelSection& model) {
  static const std::regex kHash("sha256:[0-9a-f]{64}");
  if (!model.hash.empty() && !std::regex_match(model.hash, kHash)) {
    return BadJob("model.hash: got \"" + model.hash + "\", want sha256:<64 hex digits>");
  }
  if (model.name.empty())
    return BadJob("model.name: got \"\", want the name or folder of the base model");
  return absl::OkStatus();
}

absl::Status CheckData(const DataSection& data) {
  static const std::regex kDataset("([A-Za-z0-9][A-Za-z0-9._-]{0,127})?");
  if (!std::regex_match(data.dataset, kDataset)) {
    return BadJob(
        "data.dataset: got \"" + data.dataset.substr(0, 200) +
        "\", want a logical name of [A-Za-z0-9._-]; its path is in the agent's policy, or in "
        "simulate.dataset-path");
  }
  const bool classes = data.task == "classification";
  if (classes && data.format == "text") {
    return BadJob(
        "data.task = \"classification\" and data.format = \"text\": want format = \"jsonl\", "
        "\"json\" or \"tsv\"");
  }
  if (!classes && data.format == "tsv") {
    return BadJob(
        "data.task = \"causal-lm\" and data.format = \"tsv\": want task = \"classification\", or "
        "another format");
  }
  if (data.format == "text" && data.template_name != "plain") {
    return BadJob("data.template = \"" + data.template_name +
                  "\" and data.format = \"text\": want template = \"plain\"");
  }
  if (classes && data.template_name != "plain") {
    return BadJob("data.template = \"" + data.template_name +
                  "\" and data.task = \"classification\": want template = \"plain\"");
  }
  if (!data.separator.empty() && data.format != "text") {
    return BadJob("data.separator and data.format = \"" + data.format +
                  "\": only text files have separators");
  }
  std::vector<std::string> labels = data.labels;
  std::sort(labels.begin(), labels.end());
  if (const auto twice = std::adjacent_find(labels.begin(), labels.end()); twice != labels.end()) {
    return BadJob("data.labels: got '" + *twice + "' twice, want distinct names");
  }
  if (!labels.empty() && !classes)
    return BadJob("data.labels with data.task = \"causal-lm\": want task = \"classification\"");
  if (labels.size() == 1) return BadJob("data.labels: got 1 label, want at least 2");
  return absl::OkStatus();
}

// What losses share in one pass cannot differ between them.
absl::Status CheckBatchedQueries(const JobSpec& spec) {
  if (spec.train.batched_queries == 0) return absl::OkStatus();
  const std::string batched =
      "train.batched-queries = " + std::to_string(spec.train.batched_queries);
  if (spec.method == "full") {
    return Clash(batched, "[full]",
                 "losses of one pass share the base's weights, which are trained here; want "
                 "batched-queries = 0, or an adapter");
  }
  if (spec.method == "lora" && !spec.lora.modules_to_save.empty()) {
    return Clash(batched, "lora.modules-to-save",
                 "losses of one pass share the weights of its modules (heads of classification "
                 "are trained without being named); want batched-queries = 0, or no modules to "
                 "save");
  }
  if (spec.train.estimator == "forward") {
    return Clash(batched, Set("train.estimator", "forward"),
                 "a pass carries the derivative along one direction; want batched-queries = 0");
  }
  return absl::OkStatus();
}

// Each query of GRZO is measured on a micro-batch of its own.
absl::Status CheckApart(const TrainSection& train) {
  const std::string chosen = Set("train.estimator", "grzo");
  if (train.queries != train.gradient_accumulation_steps || train.queries < 2) {
    return Clash(chosen,
                 "train.queries = " + std::to_string(train.queries) +
                     " and train.gradient-accumulation-steps = " +
                     std::to_string(train.gradient_accumulation_steps),
                 "each query is measured on one pass of a step; want both alike and at least 2, "
                 "and per-device-train-batch-size = 1 for a query an example");
  }
  if (train.batched_queries > 1) {
    return Clash(chosen, "train.batched-queries = " + std::to_string(train.batched_queries),
                 "queries see different examples; want 1, both signs of a query in a pass, or 0");
  }
  return absl::OkStatus();
}

// Steps from losses alone are plain gradient descent, or a search: what else the optimiser can do
// is refused rather than left out in silence.
absl::Status CheckEstimator(const JobSpec& spec) {
  const TrainSection& train = spec.train;
  if (train.estimator == "backprop") return absl::OkStatus();
  const std::string chosen = "train.estimator = \"" + train.estimator + "\" and ";
  const bool search = train.estimator == "cma-es";  // has no optimiser
  if (train.optimizer != "sgd" && !search) {
    return BadJob(chosen + "train.optimizer = \"" + train.optimizer +
                  "\": want optimizer = \"sgd\"");
  }
  const std::pair<const char*, double> unsupported[] = {{"train.momentum", train.momentum},
                                                        {"train.weight-decay", train.weight_decay},
                                                        {"train.proximal-mu", train.proximal_mu}};
  for (const auto& [key, value] : unsupported) {
    if (value != 0) return BadJob(chosen + key + " = " + NumberText(value) + ": want 0.0");
  }
  if (train.estimator == "fzoo" && train.queries < 2 && train.target_cosine == 0) {
    return BadJob(chosen + "train.queries = " + std::to_string(train.queries) +
                  ": one loss has no spread; want queries >= 2");
  }
  if (train.estimator == "grzo") RV_RETURN_IF_ERROR(CheckApart(train));
  if (spec.privacy.mechanism == "example") {
    return BadJob(chosen +
                  "privacy.mechanism = \"example\": gradients of single examples come "
                  "from backpropagation; want estimator = \"backprop\"");
  }
  return CheckBatchedQueries(spec);
}

absl::Status CheckTrain(const TrainSection& train) {
  if (train.max_steps == 0 && train.local_epochs == 0) {
    return BadJob("train.max-steps = 0 and train.local-epochs = 0: want one of them above 0");
  }
  if (train.optimizer == "adamw" && train.momentum != 0) {
    return BadJob("train.momentum = " + NumberText(train.momentum) +
                  " and train.optimizer = \"adamw\": want optimizer = \"sgd\", or adam-beta1");
  }
  return absl::OkStatus();
}

absl::Status CheckStrategy(const JobSpec& spec) {
  const StrategySection& strategy = spec.strategy;
  if (strategy.weighting == "capped" && strategy.weight_cap == 0) {
    return BadJob(
        "strategy.weighting = \"capped\" and strategy.weight-cap = 0: want weight-cap >= 1");
  }
  if (strategy.server_beta1 < 0 && strategy.server_beta1 != -1) {
    return BadJob("strategy.server-beta1: got " + NumberText(strategy.server_beta1) +
                  ", want 0..0.9999, or -1 for the strategy's default");
  }
  if (strategy.aggregation == "freeze-a" && spec.method != "lora") {
    return BadJob("strategy.aggregation = \"freeze-a\" and [" + spec.method +
                  "]: only [lora] has a factor A to freeze; want aggregation = \"factor-average\"");
  }
  return absl::OkStatus();
}

absl::Status CheckLora(const LoraSection& lora) {
  std::set<std::string> seen;
  for (const std::string& target : lora.lora_target_modules) {
    const bool alone = target == "all-linear" || target.starts_with("regex:");
    if (alone && lora.lora_target_modules.size() > 1) {
      return BadJob("lora.lora-target-modules: got '" + target +
                    "' beside others, want it alone or only names");
    }
    if (!seen.insert(target).second)
      return BadJob("lora.lora-target-modules: got '" + target + "' twice, want it once");
    RV_RETURN_IF_ERROR(CheckPattern("lora.lora-target-modules", target));
  }
  return absl::OkStatus();
}

absl::Status CheckFull(const FullSection& full) {
  std::set<std::string> seen;
  for (const std::string& module : full.modules) {
    if (!seen.insert(module).second)
      return BadJob("full.modules: got '" + module + "' twice, want it once");
  }
  return absl::OkStatus();
}

absl::Status CheckEvaluate(const JobSpec& spec) {
  if (spec.evaluate.every > 0 && spec.data.held_out_fraction == 0) {
    return BadJob("evaluate.every = " + std::to_string(spec.evaluate.every) +
                  " and data.held-out-fraction = 0.0: nothing is held out to evaluate on; want "
                  "held-out-fraction > 0, or every = 0");
  }
  if (spec.evaluate.ema > 0 && spec.data.held_out_fraction == 0) {
    return BadJob("evaluate.ema = " + NumberText(spec.evaluate.ema) +
                  " and data.held-out-fraction = 0.0: nothing is held out to evaluate on; want "
                  "held-out-fraction > 0, or ema = 0.0");
  }
  return absl::OkStatus();
}

absl::Status CheckSimulate(const SimulateSection& simulate) {
  if (simulate.partition == "by-key" && simulate.partition_key.empty()) {
    return BadJob(
        "simulate.partition = \"by-key\" and simulate.partition-key = \"\": want a field or "
        "\"regex:<pattern>\"");
  }
  const bool counted = simulate.partition == "iid" || simulate.partition == "dirichlet" ||
                       simulate.partition == "count";
  if (counted && simulate.num_clients == 0) {
    return BadJob("simulate.partition = \"" + simulate.partition +
                  "\" and simulate.num-clients = 0: want num-clients >= 1");
  }
  return CheckPattern("simulate.partition-key", simulate.partition_key);
}

// Of the whole model in place of an adapter.
std::vector<std::string> FullWarnings(const JobSpec& spec) {
  std::vector<std::string> warnings;
  if (spec.compression.codec == "none" && !spec.scalars.enabled) {
    warnings.push_back(
        "[full] with compression.codec = \"none\": each client receives and sends 4 bytes for "
        "every number that is trained, in every round");
  }
  const bool differences = spec.train.estimator != "backprop" && spec.train.estimator != "forward";
  if (differences && spec.train.perturbation >= 1e-2) {
    warnings.push_back("train.perturbation = " + NumberText(spec.train.perturbation) +
                       " suits adapters; 1e-3 is usual with [full]");
  }
  if (spec.full.modules.empty() && spec.model.dtype != "float32") {
    warnings.push_back("model.dtype = \"" + spec.model.dtype +
                       "\" has no effect with [full]: every tensor is trained, in float32");
  }
  return warnings;
}

}  // namespace

absl::Status JobSpec::Validate() const {
  if (!IsNameAmong(kMethods, method))
    return BadJob("method: got '" + method.substr(0, 200) + "', want " + kMethods);
  for (const JobKey& key : JobKeys()) RV_RETURN_IF_ERROR(CheckRange(key, *this));
  RV_RETURN_IF_ERROR(CheckJob(job));
  RV_RETURN_IF_ERROR(CheckModel(model));
  if (method == "lora") RV_RETURN_IF_ERROR(CheckLora(lora));
  if (method == "full") RV_RETURN_IF_ERROR(CheckFull(full));
  RV_RETURN_IF_ERROR(CheckData(data));
  RV_RETURN_IF_ERROR(CheckTrain(train));
  RV_RETURN_IF_ERROR(CheckEstimator(*this));
  RV_RETURN_IF_ERROR(CheckTargetCosine(*this));
  RV_RETURN_IF_ERROR(CheckScalars(*this));
  RV_RETURN_IF_ERROR(CheckStrategy(*this));
  RV_RETURN_IF_ERROR(CheckPrivateUpload(*this));
  RV_RETURN_IF_ERROR(CheckEvaluate(*this));
  RV_RETURN_IF_ERROR(CheckSimulate(simulate));
  return absl::OkStatus();
}

std::vector<std::string> JobSpec::Warnings() const {
  std::vector<std::string> warnings;
  const auto warn = [&warnings](bool when, std::string text) {
    if (when) warnings.push_back(std::move(text));
  };
  const TrainSection usual;
  const bool moved = train.adam_beta1 != usual.adam_beta1 || train.adam_beta2 != usual.adam_beta2 ||
                     train.adam_epsilon != usual.adam_epsilon;
  warn(train.optimizer == "sgd" && moved,
       "train.adam-* has no effect with train.optimizer = \"sgd\"");
  const bool measures = train.perturbation != usual.perturbation ||
                        train.queries != usual.queries || train.direction != usual.direction;
  warn(train.estimator == "backprop" && measures && !scalars.enabled,
       "train.perturbation, queries and direction have no effect with train.estimator = "
       "\"backprop\"");
  warn(
      train.estimator == "cma-es" && (measures || train.max_grad_norm != usual.max_grad_norm ||
                                      train.learning_rate != usual.learning_rate),
      "train.learning-rate, max-grad-norm, perturbation, queries and direction have no effect with "
      "train.estimator = \"cma-es\"");
  const bool votes = scalars.enabled && scalars.combine == "vote";
  const bool clips = train.max_grad_norm != usual.max_grad_norm && train.max_grad_norm > 0;
  warn(clips && (votes || IsAmong(train.estimator, {"fzoo", "grzo"})),
       "train.max-grad-norm has no effect with " +
           (votes ? Set("scalars.combine", scalars.combine)
                  : Set("train.estimator", train.estimator)) +
           ": its steps do not grow with slopes");
  const bool searches =
      train.population != usual.population || train.initial_sigma != usual.initial_sigma;
  warn(train.estimator != "cma-es" && searches,
       "train.population and initial-sigma have no effect with train.estimator = \"" +
           train.estimator + "\"");
  warn(train.estimator == "forward" && train.perturbation != usual.perturbation,
       "train.perturbation has no effect with train.estimator = \"forward\": its slopes are exact");
  const bool differences = train.estimator != "backprop" && train.estimator != "cma-es";
  warn(train.batched_queries > 0 && !differences,
       "train.batched-queries has no effect with train.estimator = \"" + train.estimator + "\"");
  const bool of_rank = IsAmong(train.direction, {"low-rank", "subspace"});
  const bool shares = of_rank || train.direction == "flipped";
  warn(train.direction_rank != usual.direction_rank && !of_rank,
       "train.direction-rank has no effect with train.direction = \"" + train.direction + "\"");
  warn(train.direction_renewal != usual.direction_renewal && !shares,
       "train.direction-renewal has no effect with train.direction = \"" + train.direction + "\"");
  warn(
      strategy.weight_cap > 0 && strategy.weighting != "capped",
      "strategy.weight-cap has no effect with strategy.weighting = \"" + strategy.weighting + "\"");
  const bool adaptive =
      strategy.name == "fedadam" || strategy.name == "fedyogi" || strategy.name == "fedadagrad";
  warn(adaptive && strategy.server_learning_rate == 0 && method != "full",
       "strategy.server-learning-rate: " + strategy.name +
           " takes its published default, made for full models; 1e-3 is usual with adapters");
  warn(evaluate.every > job.num_rounds,
       "evaluate.every = " + std::to_string(evaluate.every) + " is above job.num-rounds = " +
           std::to_string(job.num_rounds) + ": no evaluation falls between first and last round");
  warn(data.format == "text" && data.separator.empty() && !data.packing,
       "data.separator = \"\" with data.packing = false: a file is one example, cut to "
       "data.seq-length tokens, and a client of one file holds nothing out");
  const bool counted = simulate.partition != "files" && simulate.partition != "by-key";
  warn(simulate.num_clients > 0 && !counted,
       "simulate.num-clients has no effect with simulate.partition = \"" + simulate.partition +
           "\"");
  warn(method == "lora" && strategy.aggregation == "factor-average" && strategy.name != "fedavg",
       "strategy.name = \"" + strategy.name + "\" moves A and B each by itself, not their product");
  if (method == "full") {
    for (std::string& warning : FullWarnings(*this)) warnings.push_back(std::move(warning));
  }
  for (std::string& warning : PrivateUploadWarnings(*this)) warnings.push_back(std::move(warning));
  return warnings;
}

std::vector<std::string> JobSpec::SubmitWarnings() const {
  std::vector<std::string> warnings = Warnings();
  if (job.min_available_clients == 0) {
    warnings.push_back("job.min-available-clients = 0: round 1 starts with " +
                       std::to_string(std::max(job.clients_per_round, job.min_clients)) +
                       " clients connected, and cohorts are drawn from those that are; a "
                       "simulation waits for all. "
                       "Set it to the number of clients to reach the same state in both");
  }
  if (job.selection == "capability") {
    warnings.push_back(
        "job.selection = \"capability\" goes by the memory of each agent's machine: a simulation "
        "chooses other clients");
  }
  if (scalars.drawn_from == "session") {
    warnings.push_back(
        "scalars.drawn-from = \"session\": directions follow from keys that are fresh in every "
        "attempt, so no two runs of this job reach the same state, nor does a simulation");
  }
  return warnings;
}

}  // namespace rivulet
