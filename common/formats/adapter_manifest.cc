#include "common/formats/adapter_manifest.h"

#include <algorithm>
#include <cmath>

#include "common/formats/malformed.h"
#include "common/formats/whole_tensors.h"

namespace rivulet {
namespace {

bool Contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

// ---- heads and other modules that are trained whole

// Paths of the modules that join by themselves or by lora.modules-to-save.
absl::StatusOr<std::vector<std::string>> SavedModules(const ModelConfig& config,
                                                      const TensorMatch& match,
                                                      const std::vector<LinearModule>& modules,
                                                      const std::vector<std::string>& asked) {
  std::vector<std::string> saved;
  if (config.head == ModelHead::kSequenceClassification) {
    saved.push_back(config.family == ModelFamily::kBert ? "classifier" : "score");
    if (Contains(match.missing_heads, "bert.pooler.dense")) saved.push_back("bert.pooler.dense");
  }
  for (const std::string& name : asked) {
    const size_t before = saved.size();
    bool known = false;
    for (const LinearModule& module : modules) {
      if (!EndsWithModule(module.path, name)) continue;
      known = true;
      if (module.path == "lm_head" && config.tie_word_embeddings)
        return Malformed("lora.modules-to-save: got '" + name +
                         "', which is tied to the embedding");
      if (!Contains(saved, module.path)) saved.push_back(module.path);
    }
    if (!known && before == saved.size())
      return Malformed("lora.modules-to-save: got '" + name +
                       "', want the name of a Linear of this model");
  }
  std::sort(saved.begin(), saved.end());
  return saved;
}

void AddSaved(const ModelConfig& config, const TensorMatch& match,
              const std::vector<LinearModule>& modules, AdapterPlan& plan) {
  for (const LinearModule& module : modules) {
    if (!Contains(plan.saved_modules, module.path)) continue;
    const auto add = [&](const char* parameter, TensorRole role, std::vector<int64_t> shape) {
      const std::string name = module.path + "." + parameter;
      const auto found = match.file_name_of.find(name);
      // AdapterHub's head files name tensors as the model does, PEFT puts its prefix in front:
      // half of it beside prompts, which wrap no module.
      const std::string key = plan.method == "lora"     ? SavedKey(module.path, parameter)
                              : plan.method == "prompt" ? "base_model." + name
                                                        : name;
      plan.tensors.push_back({{key, DType::kF32, std::move(shape)},
                              role,
                              module.path,
                              found == match.file_name_of.end() ? "" : found->second});
    };
    add("weight", TensorRole::kHeadWeight, {module.out, module.in});
    if (module.bias) add("bias", TensorRole::kHeadBias, {module.out});
  }
}

// ---- methods

absl::Status PlanLora(const ModelConfig& config, const JobSpec& job,
                      const std::vector<LinearModule>& modules, AdapterPlan& plan) {
  const LoraSection& lora = job.lora;
  if (lora.lora_r < 1 || lora.lora_r > 1024)
    return Malformed("lora.lora-r: got " + std::to_string(lora.lora_r) + ", want 1..1024");
  RV_ASSIGN_OR_RETURN(const TargetSelector selector, SelectorOf(lora, config.family));
  RV_ASSIGN_OR_RETURN(const std::vector<LinearModule> selected,
                      SelectModules(modules, selector, plan.saved_modules));
  for (const LinearModule& module : selected) {
    if (module.head)
      return Malformed(
          "lora.lora-target-modules: got '" + module.path +
          "', which is the output head; want it in lora.modules-to-save, trained whole");
  }
  plan.freeze_a = job.strategy.aggregation == "freeze-a";
  const double rank = lora.lora_r;
  const double scale = lora.lora_alpha / (lora.use_rslora ? std::sqrt(rank) : rank);
  for (const LinearModule& module : selected) {
    plan.lora.push_back({module, lora.lora_r, scale});
    plan.tensors.push_back({{LoraAKey(module.path), DType::kF32, {lora.lora_r, module.in}},
                            TensorRole::kLoraA,
                            module.path,
                            ""});
    plan.tensors.push_back({{LoraBKey(module.path), DType::kF32, {module.out, lora.lora_r}},
                            TensorRole::kLoraB,
                            module.path,
                            ""});
  }
  return absl::OkStatus();
}

void AddSite(const AdapterSite& site, AdapterPlan& plan) {
  const std::string prefix = site.path + ".adapters." + kAdapterName + ".";
  const auto add = [&](const char* name, TensorRole role, std::vector<int64_t> shape) {
    plan.tensors.push_back({{prefix + name, DType::kF32, std::move(shape)}, role, site.path, ""});
  };
  add("adapter_down.0.weight", TensorRole::kAdapterDownWeight, {site.bottleneck, site.hidden});
  add("adapter_down.0.bias", TensorRole::kAdapterDownBias, {site.bottleneck});
  add("adapter_up.weight", TensorRole::kAdapterUpWeight, {site.hidden, site.bottleneck});
  add("adapter_up.bias", TensorRole::kAdapterUpBias, {site.hidden});
  plan.sites.push_back(site);
}

absl::Status PlanBottleneck(const ModelConfig& config, const AdapterSection& section,
                            AdapterPlan& plan) {
  if (section.config != "seq_bn")
    return Malformed("adapter.config: got '" + section.config + "', want seq_bn");
  if (section.reduction_factor < 1)
    return Malformed("adapter.reduction-factor: got " + std::to_string(section.reduction_factor) +
                     ", want at least 1");
  const int layers = static_cast<int>(config.num_hidden_layers);
  for (int layer : section.leave_out) {
    if (layer < 0 || layer >= layers)
      return Malformed("adapter.leave-out: got " + std::to_string(layer) + ", want 0.." +
                       std::to_string(layers - 1));
  }
  const int64_t bottleneck = std::max<int64_t>(1, config.hidden_size / section.reduction_factor);
  for (int layer = 0; layer < layers; ++layer) {
    const auto& out = section.leave_out;
    if (std::find(out.begin(), out.end(), layer) != out.end()) continue;
    const std::string number = std::to_string(layer);
    const std::string path = config.family == ModelFamily::kBert
                                 ? "bert.encoder.layer." + number + ".output"
                                 : "model.layers." + number + ".output_adapters";
    AddSite({path, layer, config.hidden_size, bottleneck}, plan);
  }
  if (plan.sites.empty()) return Malformed("adapter.leave-out: got every layer, want one left");
  return absl::OkStatus();
}

absl::Status PlanPrompt(const ModelConfig& config, const TensorMatch& match, const JobSpec& job,
                        AdapterPlan& plan) {
  RV_ASSIGN_OR_RETURN(plan.prompt, SoftPromptOf(config, job));
  const SoftPrompt& prompt = *plan.prompt;
  const auto found = match.file_name_of.find(prompt.embedding);
  plan.tensors.push_back({{kPromptKey, DType::kF32, {prompt.tokens, prompt.hidden}},
                          TensorRole::kPrompt,
                          "",
                          found == match.file_name_of.end() ? prompt.embedding : found->second,
                          prompt.rows});
  if (prompt.subspace == 0) return absl::OkStatus();
  plan.tensors.push_back(
      {{kSubspaceKey, DType::kF32, {prompt.subspace}}, TensorRole::kPromptSubspace, "", ""});
  return absl::OkStatus();
}

// A document of a few bytes can ask for a model of terabytes: whoever holds a state of the plan
// would allocate it.
constexpr uint64_t kMostStateBytes = uint64_t{16} << 30;
constexpr size_t kMostTensors = 4096;  // 256 bytes each of the largest header of an upload

absl::Status CheckSize(const AdapterPlan& plan) {
  const auto too_much = [](const std::string& need, const std::string& limit) {
    return Refuse(absl::StatusCode::kResourceExhausted,
                  "trained state: needs " + need + ", want at most " + limit);
  };
  if (plan.tensors.size() > kMostTensors)
    return too_much(std::to_string(plan.tensors.size()) + " tensors", std::to_string(kMostTensors));
  const uint64_t bytes = SizeBytesOf(plan.full());
  if (bytes > kMostStateBytes)
    return too_much(std::to_string(bytes) + " bytes", std::to_string(kMostStateBytes));
  return absl::OkStatus();
}

// A search keeps and factorises a covariance of as many rows and columns as there are trained
// numbers.
constexpr int64_t kMostSearched = 1024;

absl::Status CheckSearch(const AdapterPlan& plan, const TrainSection& train) {
  int64_t numbers = 0;
  for (const TensorSpec& spec : plan.wire()) numbers += spec.elements();
  if (train.estimator != "cma-es" || numbers <= kMostSearched) return absl::OkStatus();
  return Malformed("train.estimator: got \"cma-es\" for " + std::to_string(numbers) +
                   " trained numbers, want at most " + std::to_string(kMostSearched) +
                   ": a [prompt] with subspace = " + std::to_string(kMostSearched) + " or less");
}

}  // namespace

bool AdapterPlan::IsSent(const TrainedTensor& tensor) const {
  if (tensor.role == TensorRole::kLoraA) return !freeze_a;
  return tensor.role != TensorRole::kPrompt || prompt->subspace == 0;
}

Manifest AdapterPlan::full() const {
  Manifest manifest;
  for (const TrainedTensor& tensor : tensors) {
    if (tensor.role != TensorRole::kPromptSubspace) manifest.push_back(tensor.spec);
  }
  return manifest;
}

Manifest AdapterPlan::wire() const {
  Manifest manifest;
  for (const TrainedTensor& tensor : tensors) {
    if (IsSent(tensor)) manifest.push_back(tensor.spec);
  }
  return manifest;
}

Manifest AdapterPlan::from_base() const {
  Manifest manifest;
  for (const TrainedTensor& tensor : tensors) {
    if (IsSent(tensor) && !tensor.starts_from.empty()) manifest.push_back(tensor.spec);
  }
  return manifest;
}

absl::StatusOr<AdapterPlan> PlanAdapter(const ModelConfig& config, const TensorMatch& match,
                                        const JobSpec& job) {
  const bool prompt = job.method == "prompt";
  if (job.method != "lora" && job.method != "adapter" && job.method != "full" && !prompt)
    return Malformed("method: got '" + job.method + "', want lora, adapter, full or prompt");
  const std::vector<LinearModule> modules = LinearModules(config);
  AdapterPlan plan;
  plan.method = job.method;
  const bool lora = job.method == "lora";
  RV_ASSIGN_OR_RETURN(plan.saved_modules,
                      SavedModules(config, match, modules,
                                   lora ? job.lora.modules_to_save : std::vector<std::string>()));
  if (job.method == "full") {
    RV_ASSIGN_OR_RETURN(plan.tensors,
                        PlanWholeTensors(config, match, job.full.modules, plan.saved_modules));
  } else {
    RV_RETURN_IF_ERROR(lora     ? PlanLora(config, job, modules, plan)
                       : prompt ? PlanPrompt(config, match, job, plan)
                                : PlanBottleneck(config, job.adapter, plan));
    AddSaved(config, match, modules, plan);
  }
  std::sort(plan.tensors.begin(), plan.tensors.end(),
            [](const TrainedTensor& left, const TrainedTensor& right) {
              return left.spec.name < right.spec.name;
            });
  RV_RETURN_IF_ERROR(CheckSize(plan));
  RV_RETURN_IF_ERROR(CheckSearch(plan, job.train));
  return plan;
}

absl::StatusOr<JobModel> DescribeJobModel(const std::filesystem::path& directory,
                                          const ModelFiles& files, const JobSpec& job) {
  JobModel model;
  RV_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(directory));
  RV_ASSIGN_OR_RETURN(model.config, ForTask(std::move(config), job.data.task, job.data.labels));
  absl::StatusOr<TensorMatch> match = MatchTensors(model.config, files.specs());
  if (!match.ok()) return Annotate(match.status(), directory.string());
  model.match = *std::move(match);
  RV_ASSIGN_OR_RETURN(model.plan, PlanAdapter(model.config, model.match, job));
  return model;
}

}  // namespace rivulet
