#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/formats/model_config.h"
#include "common/job/job_spec.h"

// Which linear modules a model has, which of them a job adapts, and what PEFT calls their factors.

namespace rivulet {

// Before the path of a module in every key of a PEFT file.
inline constexpr char kPeftPrefix[] = "base_model.model.";

// One Linear of the model: y [out] = W [out,in] x [in] (+ bias).
struct LinearModule {
  std::string path;  // inside the model with its head: "model.layers.0.self_attn.q_proj"
  int64_t in = 0;
  int64_t out = 0;
  int layer = -1;  // -1 outside the layers (pooler, heads)
  bool bias = false;
  bool head = false;  // output head: lm_head, score, classifier. Never adapted by "all-linear"
  bool operator==(const LinearModule&) const = default;
};

// Every Linear of the model with its head, in module order.
std::vector<LinearModule> LinearModules(const ModelConfig& config);

// How targets are stated: in job.toml (LoraSection::lora_target_modules) and in
// adapter_config.json.
struct TargetSelector {
  std::vector<std::string> names;  // a module whose path equals one or ends with "." + it
  std::string pattern;             // PEFT's string form: the whole path matches
  bool all_linear = false;         // every Linear but the output head
  std::vector<int> layers;         // empty = all; only together with names
};
// Errors: InvalidArgument ("regex:" mixed with names, empty name).
absl::StatusOr<TargetSelector> SelectorOf(const LoraSection& lora, ModelFamily family);

// The targets that PEFT takes by itself for this family: llama q_proj, v_proj; bert query, value.
std::vector<std::string> DefaultTargets(ModelFamily family);

// The selected modules, in module order. Modules in `saved` (trained whole) are left out. Errors:
// InvalidArgument naming a target that matches nothing with the known ones, or a
// layer that does not exist.
absl::StatusOr<std::vector<LinearModule>> SelectModules(const std::vector<LinearModule>& modules,
                                                        const TargetSelector& selector,
                                                        const std::vector<std::string>& saved);

// True when `path` equals `name` or ends with "." + name: PEFT's rule for target_modules and
// modules_to_save.
bool EndsWithModule(std::string_view path, std::string_view name);

// "base_model.model." + path + ".lora_A.weight" and so on.
std::string LoraAKey(std::string_view path);
std::string LoraBKey(std::string_view path);
std::string SavedKey(std::string_view path, std::string_view parameter);  // weight | bias

}  // namespace rivulet
