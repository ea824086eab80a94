#include "common/formats/lora_adapter.h"

#include <algorithm>
#include <cmath>

#include "common/formats/malformed.h"
#include "common/formats/peft_folder.h"
#include "common/formats/peft_names.h"

namespace rivulet {
namespace {

absl::Status NotComputed(const std::string& message) {
  return Refuse(absl::StatusCode::kUnimplemented, message);
}

// "a.b" of "base_model.model.a.b.lora_A.weight" when `suffix` is ".lora_A.weight", else "".
std::string PathOf(const std::string& key, std::string_view suffix) {
  const size_t start = sizeof(kPeftPrefix) - 1;
  if (!key.ends_with(suffix) || key.size() <= start + suffix.size()) return "";
  return key.substr(start, key.size() - start - suffix.size());
}

absl::Status CheckKey(const TensorSpec& spec) {
  if (!spec.name.starts_with(kPeftPrefix))
    return Malformed("adapter key: got '" + spec.name + "', want " + kPeftPrefix + "...");
  for (const char* part : {"lora_magnitude_vector", "lora_embedding_", "trainable_tokens_delta",
                           ".base_layer.", "lora_B.bias", "ia3_l"}) {
    if (spec.name.find(part) != spec.name.npos)
      return NotComputed("adapter key: got '" + spec.name + "'; " + part + " is not computed here");
  }
  if (spec.dtype == DType::kF32 || spec.dtype == DType::kBF16 || spec.dtype == DType::kF16)
    return absl::OkStatus();
  return NotComputed("adapter tensor: got " + Describe(spec) + ", want F32, BF16 or F16");
}

absl::StatusOr<LoraFactors> PairOf(const PeftLoraConfig& config, const ParameterSet& weights,
                                   size_t row, const std::string& path) {
  LoraFactors factors{path, row};
  const int64_t b = weights.IndexOf(LoraBKey(path));
  if (b < 0) return Malformed("adapter: got " + LoraAKey(path) + " without its lora_B");
  factors.b = static_cast<size_t>(b);
  RV_ASSIGN_OR_RETURN(factors.rank, config.RankOf(path));
  RV_ASSIGN_OR_RETURN(factors.scale, config.ScaleOf(path));
  const TensorSpec& left = weights.manifest()[factors.b];
  const TensorSpec& right = weights.manifest()[row];
  if (left.shape.size() != 2 || right.shape.size() != 2 || right.shape[0] != factors.rank ||
      left.shape[1] != factors.rank)
    return Malformed("adapter: got " + Describe(right) + " and " + Describe(left) + ", want rank " +
                     std::to_string(factors.rank));
  return factors;
}

absl::Status CheckSaved(const PeftLoraConfig& config, const std::string& key) {
  for (const std::string& name : config.modules_to_save) {
    for (const char* parameter : {".weight", ".bias"}) {
      const std::string path = PathOf(key, parameter);
      // PEFT saves whole modules: "pooler" covers pooler.dense.
      if (EndsWithModule(path, name) || ("." + path + ".").find("." + name + ".") != path.npos)
        return absl::OkStatus();
    }
  }
  return Malformed("adapter key: got '" + key +
                   "', which is neither a factor nor in modules_to_save");
}

std::vector<float> AsFloats(const ParameterSet& set, size_t row) {
  std::vector<float> values(set.manifest()[row].elements());
  CopyAsFloats({set.manifest()[row], set.bytes(row)}, values);
  return values;
}

// ---- config of a job's adapter

std::vector<std::string> PathsOf(const std::vector<LoraModule>& modules) {
  std::vector<std::string> paths;
  for (const LoraModule& module : modules) paths.push_back(module.linear.path);
  return paths;
}

// Last names of the paths if they select just these modules, else the paths.
std::vector<std::string> TargetNames(const JobModel& model, const std::vector<int>& layers) {
  const std::vector<std::string> paths = PathsOf(model.plan.lora);
  std::vector<std::string> names;
  for (const std::string& path : paths) names.push_back(path.substr(path.rfind('.') + 1));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  TargetSelector selector;
  selector.names = names;
  selector.layers = layers;
  const auto selected = SelectModules(LinearModules(model.config), selector, {});
  if (!selected.ok() || selected->size() != paths.size()) return paths;
  for (size_t row = 0; row < paths.size(); ++row) {
    if ((*selected)[row].path != paths[row]) return paths;
  }
  return names;
}

absl::StatusOr<PeftLoraConfig> ConfigOf(const JobModel& model, const JobSpec& job) {
  RV_ASSIGN_OR_RETURN(const TargetSelector selector, SelectorOf(job.lora, model.config.family));
  const bool classifies = model.config.head == ModelHead::kSequenceClassification;
  PeftLoraConfig config;
  config.base_model = job.model.name;
  config.task_type = classifies ? "SEQ_CLS" : "CAUSAL_LM";
  config.rank = job.lora.lora_r;
  config.alpha = job.lora.lora_alpha;
  config.dropout = job.lora.lora_dropout;
  config.use_rslora = job.lora.use_rslora;
  config.target_pattern = selector.pattern;
  if (selector.pattern.empty()) config.target_modules = TargetNames(model, selector.layers);
  config.layers_to_transform.assign(selector.layers.begin(), selector.layers.end());
  config.modules_to_save = model.plan.saved_modules;
  // PEFT puts this pair there by itself for the task.
  for (const char* head : {"classifier", "score"}) {
    const auto& saved = config.modules_to_save;
    if (classifies && std::find(saved.begin(), saved.end(), head) == saved.end())
      config.modules_to_save.push_back(head);
  }
  std::sort(config.modules_to_save.begin(), config.modules_to_save.end());
  return config;
}

// ---- uniform rank

bool IsUniform(const LoraAdapter& adapter) {
  return std::all_of(
      adapter.factors.begin(), adapter.factors.end(), [&](const LoraFactors& factors) {
        return factors.rank == adapter.factors[0].rank && factors.scale == adapter.factors[0].scale;
      });
}

// A with zero rows and scale * B with zero columns, up to `rank`.
void Pad(const LoraAdapter& from, const LoraFactors& factors, ParameterSet& to) {
  const std::vector<float> a = AsFloats(from.weights, factors.a);
  const std::vector<float> b = AsFloats(from.weights, factors.b);
  std::copy(a.begin(), a.end(), to.floats(factors.a).begin());
  const std::span<float> padded = to.floats(factors.b);
  const size_t rank = static_cast<size_t>(to.manifest()[factors.b].shape[1]);
  const float scale = static_cast<float>(factors.scale);
  for (size_t cell = 0; cell < b.size(); ++cell)
    padded[cell / factors.rank * rank + cell % factors.rank] = scale * b[cell];
}

}  // namespace

std::string LoraAdapter::SavedName(size_t row) const {
  return weights.manifest().at(row).name.substr(sizeof(kPeftPrefix) - 1);
}

absl::StatusOr<LoraAdapter> MakeLoraAdapter(PeftLoraConfig config, ParameterSet weights) {
  LoraAdapter adapter;
  size_t halves = 0;
  for (size_t row = 0; row < weights.size(); ++row) {
    const TensorSpec& spec = weights.manifest()[row];
    RV_RETURN_IF_ERROR(CheckKey(spec));
    if (const std::string path = PathOf(spec.name, ".lora_A.weight"); !path.empty()) {
      RV_ASSIGN_OR_RETURN(LoraFactors factors, PairOf(config, weights, row, path));
      adapter.factors.push_back(std::move(factors));
    } else if (!PathOf(spec.name, ".lora_B.weight").empty()) {
      ++halves;
    } else {
      RV_RETURN_IF_ERROR(CheckSaved(config, spec.name));
      adapter.saved.push_back(row);
    }
  }
  if (halves != adapter.factors.size())
    return Malformed("adapter: got a lora_B without its lora_A");
  if (adapter.factors.empty()) return Malformed("adapter: got no lora_A and lora_B");
  std::sort(
      adapter.factors.begin(), adapter.factors.end(),
      [](const LoraFactors& left, const LoraFactors& right) { return left.path < right.path; });
  adapter.config = std::move(config);
  adapter.weights = std::move(weights);
  return adapter;
}

absl::StatusOr<std::vector<LinearModule>> CheckFits(const LoraAdapter& adapter,
                                                    const ModelConfig& config) {
  const std::vector<LinearModule> modules = LinearModules(config);
  std::vector<LinearModule> found;
  for (const LoraFactors& factors : adapter.factors) {
    const auto module =
        std::find_if(modules.begin(), modules.end(),
                     [&](const LinearModule& known) { return known.path == factors.path; });
    if (module == modules.end())
      return Malformed("adapter: module '" + factors.path + "' is no Linear of this " +
                       config.model_type + " model");
    const int64_t in = adapter.weights.manifest()[factors.a].shape[1];
    const int64_t out = adapter.weights.manifest()[factors.b].shape[0];
    if (in != module->in || out != module->out)
      return Malformed("adapter: module '" + factors.path + "': got " + std::to_string(out) +
                       " x " + std::to_string(in) + ", want " + std::to_string(module->out) +
                       " x " + std::to_string(module->in));
    found.push_back(*module);
  }
  const std::vector<ExpectedTensor> expected = ExpectedTensors(config);
  for (size_t row : adapter.saved) {
    const auto tensor = std::find_if(
        expected.begin(), expected.end(),
        [&](const ExpectedTensor& known) { return known.name == adapter.SavedName(row); });
    const TensorSpec& got = adapter.weights.manifest()[row];
    if (tensor == expected.end() || tensor->shape != got.shape)
      return Malformed("adapter: saved tensor " + Describe(got) + " does not fit this " +
                       config.model_type + " model");
  }
  return found;
}

absl::StatusOr<LoraAdapter> LoraAdapterOf(const JobModel& model, const JobSpec& job,
                                          ParameterSet state) {
  if (model.plan.method != "lora")
    return Malformed("export: got method '" + model.plan.method + "', want lora");
  RV_RETURN_IF_ERROR(SameManifest(state.manifest(), model.plan.full()));
  RV_ASSIGN_OR_RETURN(PeftLoraConfig config, ConfigOf(model, job));
  return MakeLoraAdapter(std::move(config), std::move(state));
}

absl::StatusOr<LoraAdapter> ReadPeftDirectory(const std::filesystem::path& directory) {
  RV_ASSIGN_OR_RETURN(PeftFolder folder, ReadPeftFolder(directory));
  absl::StatusOr<PeftLoraConfig> config = ParsePeftLoraConfig(folder.config);
  if (!config.ok()) return Annotate(config.status(), (directory / kPeftConfigFile).string());
  absl::StatusOr<LoraAdapter> adapter =
      MakeLoraAdapter(*std::move(config), std::move(folder.weights));
  if (!adapter.ok()) return Annotate(adapter.status(), directory.string());
  return adapter;
}

absl::Status WritePeftDirectory(const std::filesystem::path& directory,
                                const LoraAdapter& adapter) {
  return WritePeftFolder(directory, PeftLoraConfigText(adapter.config), adapter.weights);
}

absl::StatusOr<LoraAdapter> PortableLora(const LoraAdapter& adapter) {
  if (!adapter.saved.empty())
    return NotComputed("profile portable: got modules_to_save (" +
                       adapter.SavedName(adapter.saved[0]) +
                       "), which its readers refuse; want profile peft, or `rivulet model merge`");
  RV_ASSIGN_OR_RETURN(LoraAdapter portable, WithUniformRank(adapter));
  portable.config.modules_to_save.clear();
  return portable;
}

int64_t HeadClasses(const LoraAdapter& adapter) {
  for (size_t row : adapter.saved) {
    const std::string name = adapter.SavedName(row);
    const TensorSpec& spec = adapter.weights.manifest()[row];
    if ((name == "classifier.weight" || name == "score.weight") && spec.shape.size() == 2)
      return spec.shape[0];
  }
  return 0;
}

absl::StatusOr<LoraAdapter> WithUniformRank(const LoraAdapter& adapter) {
  PeftLoraConfig config = adapter.config;
  config.rank_pattern.clear();
  config.alpha_pattern.clear();
  config.use_rslora = false;
  if (IsUniform(adapter)) {
    config.rank = adapter.factors[0].rank;
    config.alpha = adapter.factors[0].scale * static_cast<double>(config.rank);
    return MakeLoraAdapter(std::move(config), adapter.weights);
  }
  config.rank = 0;
  for (const LoraFactors& factors : adapter.factors)
    config.rank = std::max(config.rank, factors.rank);
  config.alpha = static_cast<double>(config.rank);
  Manifest manifest = adapter.weights.manifest();
  for (TensorSpec& spec : manifest) spec.dtype = DType::kF32;
  for (const LoraFactors& factors : adapter.factors) {
    manifest[factors.a].shape[0] = config.rank;
    manifest[factors.b].shape[1] = config.rank;
  }
  ParameterSet weights(std::move(manifest));
  for (const LoraFactors& factors : adapter.factors) Pad(adapter, factors, weights);
  for (size_t row : adapter.saved) {
    const std::vector<float> values = AsFloats(adapter.weights, row);
    std::copy(values.begin(), values.end(), weights.floats(row).begin());
  }
  return MakeLoraAdapter(std::move(config), std::move(weights));
}

void DeltaRows(const LoraAdapter& adapter, const LoraFactors& factors, int64_t first_row,
               std::span<float> out) {
  const std::vector<float> a = AsFloats(adapter.weights, factors.a);
  const std::vector<float> b = AsFloats(adapter.weights, factors.b);
  const size_t in = static_cast<size_t>(adapter.weights.manifest()[factors.a].shape[1]);
  const size_t rank = static_cast<size_t>(factors.rank);
  const float scale = static_cast<float>(factors.scale);
  for (size_t row = 0; row < out.size() / in; ++row) {
    const std::span<float> line = out.subspan(row * in, in);
    std::fill(line.begin(), line.end(), 0.0f);
    for (size_t k = 0; k < rank; ++k) {
      const float weight = b[(static_cast<size_t>(first_row) + row) * rank + k];
      for (size_t column = 0; column < in; ++column) line[column] += weight * a[k * in + column];
    }
    for (float& value : line) value *= scale;
  }
}

absl::StatusOr<double> LargestDeltaDifference(const LoraAdapter& left, const LoraAdapter& right) {
  if (left.factors.size() != right.factors.size())
    return Malformed("adapters: got " + std::to_string(left.factors.size()) + " and " +
                     std::to_string(right.factors.size()) + " modules");
  double largest = 0;
  for (size_t row = 0; row < left.factors.size(); ++row) {
    const LoraFactors& one = left.factors[row];
    const LoraFactors& two = right.factors[row];
    const size_t out = static_cast<size_t>(left.weights.manifest()[one.b].shape[0]);
    const size_t in = static_cast<size_t>(left.weights.manifest()[one.a].shape[1]);
    if (one.path != two.path ||
        left.weights.manifest()[one.b].shape[0] != right.weights.manifest()[two.b].shape[0] ||
        left.weights.manifest()[one.a].shape[1] != right.weights.manifest()[two.a].shape[1])
      return Malformed("adapters: got modules " + one.path + " and " + two.path +
                       " of different size");
    std::vector<float> first(out * in), second(out * in);
    DeltaRows(left, one, 0, first);
    DeltaRows(right, two, 0, second);
    for (size_t cell = 0; cell < first.size(); ++cell)
      largest = std::max(largest, std::abs(double{first[cell]} - double{second[cell]}));
  }
  return largest;
}

}  // namespace rivulet
