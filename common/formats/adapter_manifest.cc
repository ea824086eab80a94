#include "common/formats/adapter_manifest.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/formats/float_cast.h"
#include "common/formats/malformed.h"
#include "common/formats/whole_tensors.h"
#include "common/random.h"

namespace rivulet {
namespace {

constexpr float kNormalDeviation = 0.02f;

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
      // AdapterHub's head files name tensors as the model does, PEFT puts its prefix in front.
      const std::string key = plan.method == "lora" ? SavedKey(module.path, parameter) : name;
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

// ---- values

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

void Draw(const RandomStream& stream, uint32_t position, const TrainedTensor& tensor,
          std::span<float> out) {
  if (tensor.role == TensorRole::kLoraA) {
    stream.FillUniform(position, out);
    const float bound =
        static_cast<float>(1.0 / std::sqrt(static_cast<double>(tensor.spec.shape[1])));
    for (float& value : out) value *= bound;
  } else if (tensor.role == TensorRole::kAdapterDownWeight ||
             tensor.role == TensorRole::kHeadWeight) {
    stream.FillGauss(position, out);
    for (float& value : out) value *= kNormalDeviation;
  } else {
    std::fill(out.begin(), out.end(), 0.0f);
  }
}

}  // namespace

void CopyAsFloats(const TensorView& tensor, std::span<float> out) {
  const DType dtype = tensor.spec.dtype;
  if (tensor.bytes.size() != out.size() * BitsOf(dtype) / 8) std::abort();
  if (dtype == DType::kF32) {
    std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
    return;
  }
  if (dtype != DType::kBF16 && dtype != DType::kF16) std::abort();
  for (size_t row = 0; row < out.size(); ++row) {
    uint16_t bits;
    std::memcpy(&bits, tensor.bytes.data() + 2 * row, 2);
    out[row] = dtype == DType::kBF16 ? FloatOfBF16(bits) : FloatOfF16(bits);
  }
}

Manifest AdapterPlan::full() const {
  Manifest manifest;
  for (const TrainedTensor& tensor : tensors) manifest.push_back(tensor.spec);
  return manifest;
}

Manifest AdapterPlan::wire() const {
  Manifest manifest;
  for (const TrainedTensor& tensor : tensors) {
    if (!freeze_a || tensor.role != TensorRole::kLoraA) manifest.push_back(tensor.spec);
  }
  return manifest;
}

Manifest AdapterPlan::from_base() const {
  Manifest manifest;
  for (const TrainedTensor& tensor : tensors) {
    if (!tensor.starts_from.empty()) manifest.push_back(tensor.spec);
  }
  return manifest;
}

absl::StatusOr<AdapterPlan> PlanAdapter(const ModelConfig& config, const TensorMatch& match,
                                        const JobSpec& job) {
  if (job.method != "lora" && job.method != "adapter" && job.method != "full")
    return Malformed("method: got '" + job.method + "', want lora, adapter or full");
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
    RV_RETURN_IF_ERROR(lora ? PlanLora(config, job, modules, plan)
                            : PlanBottleneck(config, job.adapter, plan));
    AddSaved(config, match, modules, plan);
  }
  std::sort(plan.tensors.begin(), plan.tensors.end(),
            [](const TrainedTensor& left, const TrainedTensor& right) {
              return left.spec.name < right.spec.name;
            });
  RV_RETURN_IF_ERROR(CheckSize(plan));
  return plan;
}

absl::StatusOr<ParameterSet> BaseTensors(const AdapterPlan& plan, const ModelFiles& base) {
  ParameterSet values(plan.from_base());
  size_t row = 0;
  for (const TrainedTensor& tensor : plan.tensors) {
    if (tensor.starts_from.empty()) continue;
    const TensorView* view = base.Find(tensor.starts_from);
    if (view == nullptr || view->spec.shape != tensor.spec.shape || !IsFloat(view->spec.dtype)) {
      return Refuse(absl::StatusCode::kFailedPrecondition,
                    tensor.spec.name + ": starts from '" + tensor.starts_from +
                        "' of the base model: got " +
                        (view == nullptr ? "nothing" : Describe(view->spec)) + ", want " +
                        Describe(tensor.spec) + ", or BF16 or F16");
    }
    CopyAsFloats(*view, values.floats(row++));
  }
  RV_RETURN_IF_ERROR(Annotate(CheckFinite(values), "base model"));
  return values;
}

absl::StatusOr<ParameterSet> InitialState(const AdapterPlan& plan, uint64_t seed,
                                          const ModelFiles* base) {
  ParameterSet from_base;
  if (base != nullptr) {
    RV_ASSIGN_OR_RETURN(from_base, BaseTensors(plan, *base));
  } else if (const Manifest wanted = plan.from_base(); !wanted.empty()) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  wanted[0].name + ": starts from the base model's values, which are not at hand");
  }
  return InitialState(plan, seed, from_base);
}

absl::StatusOr<ParameterSet> InitialState(const AdapterPlan& plan, uint64_t seed,
                                          const ParameterSet& from_base) {
  RV_RETURN_IF_ERROR(SameManifest(from_base.manifest(), plan.from_base()));
  const RandomStream stream(seed, Purpose::kInitialValues, 0);
  ParameterSet state(plan.wire());
  size_t row = 0, given = 0;
  for (size_t position = 0; position < plan.tensors.size(); ++position) {
    const TrainedTensor& tensor = plan.tensors[position];
    if (plan.freeze_a && tensor.role == TensorRole::kLoraA) continue;
    const std::span<float> out = state.floats(row++);
    if (tensor.starts_from.empty()) {
      Draw(stream, static_cast<uint32_t>(position), tensor, out);
    } else {
      const std::span<const float> values = from_base.floats(given++);
      std::copy(values.begin(), values.end(), out.begin());
    }
  }
  return state;
}

absl::StatusOr<ParameterSet> CompleteState(const AdapterPlan& plan, uint64_t seed,
                                           const ParameterSet& wire) {
  RV_RETURN_IF_ERROR(SameManifest(wire.manifest(), plan.wire()));
  const RandomStream stream(seed, Purpose::kInitialValues, 0);
  ParameterSet state(plan.full());
  size_t row = 0;
  for (size_t position = 0; position < plan.tensors.size(); ++position) {
    const TrainedTensor& tensor = plan.tensors[position];
    if (plan.freeze_a && tensor.role == TensorRole::kLoraA) {
      Draw(stream, static_cast<uint32_t>(position), tensor, state.floats(position));
    } else {
      const std::span<const float> values = wire.floats(row++);
      std::copy(values.begin(), values.end(), state.floats(position).begin());
    }
  }
  return state;
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
