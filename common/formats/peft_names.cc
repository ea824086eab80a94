#include "common/formats/peft_names.h"

#include <algorithm>
#include <set>

#include "common/formats/malformed.h"
#include "common/formats/model_tensors.h"
#include "common/formats/regex.h"
#include "common/suggest.h"

namespace rivulet {
namespace {

constexpr char kRegexMark[] = "regex:";

// Number behind ".layers." or ".layer.", -1 without one.
int LayerOf(const std::string& path) {
  for (const char* mark : {".layers.", ".layer."}) {
    const size_t at = path.find(mark);
    if (at != path.npos) return std::atoi(path.c_str() + at + std::string_view(mark).size());
  }
  return -1;
}

bool IsNorm(std::string_view path) { return path.ends_with("norm") || path.ends_with("LayerNorm"); }

// Last parts of the paths: what users write as targets.
std::vector<std::string> ShortNames(const std::vector<LinearModule>& modules) {
  std::set<std::string> names;
  for (const LinearModule& module : modules)
    names.insert(module.path.substr(module.path.rfind('.') + 1));
  return {names.begin(), names.end()};
}

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

bool IsSaved(const LinearModule& module, const std::vector<std::string>& saved) {
  return std::any_of(saved.begin(), saved.end(),
                     [&](const std::string& name) { return EndsWithModule(module.path, name); });
}

absl::Status CheckLayers(const std::vector<LinearModule>& modules, const std::vector<int>& layers) {
  int last = -1;
  for (const LinearModule& module : modules) last = std::max(last, module.layer);
  for (int layer : layers) {
    if (layer < 0 || layer > last)
      return Malformed("lora.layers-to-transform: got " + std::to_string(layer) + ", want 0.." +
                       std::to_string(last));
  }
  return absl::OkStatus();
}

absl::Status CheckNames(const std::vector<LinearModule>& modules,
                        const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const bool known = std::any_of(modules.begin(), modules.end(), [&](const LinearModule& module) {
      return EndsWithModule(module.path, name);
    });
    if (!known)
      return Malformed("lora.lora-target-modules: got '" + name + "', want the name of a Linear (" +
                       Joined(ShortNames(modules)) + ")" + DidYouMean(name, ShortNames(modules)));
  }
  return absl::OkStatus();
}

bool IsNamed(const LinearModule& module, const TargetSelector& selector) {
  const bool named =
      std::any_of(selector.names.begin(), selector.names.end(),
                  [&](const std::string& name) { return EndsWithModule(module.path, name); });
  const bool layer = selector.layers.empty() ||
                     std::find(selector.layers.begin(), selector.layers.end(), module.layer) !=
                         selector.layers.end();
  return named && layer;
}

}  // namespace

std::vector<LinearModule> LinearModules(const ModelConfig& config) {
  std::vector<LinearModule> modules;
  for (const ExpectedTensor& tensor : ExpectedTensors(config)) {
    const size_t dot = tensor.name.rfind('.');
    const std::string path = tensor.name.substr(0, dot);
    if (tensor.name.substr(dot) == ".bias" && !modules.empty() && modules.back().path == path)
      modules.back().bias = true;
    if (tensor.name.substr(dot) != ".weight" || tensor.shape.size() != 2) continue;
    if (IsNorm(path) || path.find("embed") != path.npos) continue;
    const bool head = path == "lm_head" || path == "score" || path == "classifier";
    modules.push_back({path, tensor.shape[1], tensor.shape[0], LayerOf(path), false, head});
  }
  return modules;
}

std::vector<std::string> DefaultTargets(ModelFamily family) {
  if (family == ModelFamily::kBert) return {"query", "value"};
  return {"q_proj", "v_proj"};
}

absl::StatusOr<TargetSelector> SelectorOf(const LoraSection& lora, ModelFamily family) {
  const char* key = "lora.lora-target-modules";
  TargetSelector selector;
  selector.layers = lora.layers_to_transform;
  for (const std::string& target : lora.lora_target_modules) {
    if (target.empty()) return Malformed(std::string(key) + ": got an empty name");
    const bool special = target == "all-linear" || target.starts_with(kRegexMark);
    if (special && lora.lora_target_modules.size() > 1)
      return Malformed(std::string(key) + ": got '" + target +
                       "' beside other targets, want it alone");
    if (target == "all-linear")
      selector.all_linear = true;
    else if (special)
      selector.pattern = target.substr(sizeof(kRegexMark) - 1);
    else
      selector.names.push_back(target);
  }
  if (!selector.names.empty() || selector.all_linear) return selector;
  if (selector.pattern.empty()) {
    if (!lora.lora_target_modules.empty())
      return Malformed(std::string(key) + ": got an empty pattern");
    selector.names = DefaultTargets(family);
  } else if (!selector.layers.empty()) {
    return Malformed(
        "lora.layers-to-transform: not together with a regex in lora-target-modules; name "
        "the layers in the pattern");
  }
  return selector;
}

absl::StatusOr<std::vector<LinearModule>> SelectModules(const std::vector<LinearModule>& modules,
                                                        const TargetSelector& selector,
                                                        const std::vector<std::string>& saved) {
  RV_RETURN_IF_ERROR(CheckLayers(modules, selector.layers));
  RV_RETURN_IF_ERROR(CheckNames(modules, selector.names));
  RV_ASSIGN_OR_RETURN(const Regex pattern, Regex::CompileWhole(selector.pattern));
  std::vector<LinearModule> selected;
  for (const LinearModule& module : modules) {
    bool hit = IsNamed(module, selector);
    if (selector.all_linear)
      hit = !module.head &&
            (selector.layers.empty() || std::find(selector.layers.begin(), selector.layers.end(),
                                                  module.layer) != selector.layers.end());
    if (!selector.pattern.empty()) {
      RV_ASSIGN_OR_RETURN(hit, pattern.Matches(module.path));
    }
    if (hit && !IsSaved(module, saved)) selected.push_back(module);
  }
  if (!selected.empty()) return selected;
  const std::string what = selector.pattern.empty() ? Joined(selector.names) : selector.pattern;
  return Malformed("lora.lora-target-modules: '" + what + "' matches no module; known names: " +
                   Joined(ShortNames(modules)) + "; a path looks like " + modules.front().path);
}

bool EndsWithModule(std::string_view path, std::string_view name) {
  if (!path.ends_with(name) || name.empty()) return false;
  return path.size() == name.size() || path[path.size() - name.size() - 1] == '.';
}

std::string LoraAKey(std::string_view path) {
  return kPeftPrefix + std::string(path) + ".lora_A.weight";
}
std::string LoraBKey(std::string_view path) {
  return kPeftPrefix + std::string(path) + ".lora_B.weight";
}
std::string SavedKey(std::string_view path, std::string_view parameter) {
  return kPeftPrefix + std::string(path) + "." + std::string(parameter);
}

}  // namespace rivulet
