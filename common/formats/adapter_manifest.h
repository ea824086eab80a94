#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/formats/model_files.h"
#include "common/formats/model_tensors.h"
#include "common/formats/peft_names.h"
#include "common/formats/soft_prompt.h"
#include "common/job/job_spec.h"
#include "common/tensor/parameter_set.h"

// What a job trains: the names, shapes and first values of every trainable tensor, computed from
// config.json and the job alone. Coordinator, agents and simulation compute the same list.

namespace rivulet {

enum class TensorRole {
  kLoraA,
  kLoraB,
  kAdapterDownWeight,
  kAdapterDownBias,
  kAdapterUpWeight,
  kAdapterUpBias,
  kHeadWeight,
  kHeadBias,
  kBase,
  kPrompt,
  kPromptSubspace,
};

struct TrainedTensor {
  TensorSpec spec;  // key of the wire and of the export; F32
  TensorRole role = TensorRole::kLoraA;
  std::string module;  // path of the module that has it, or of the site of a bottleneck adapter
  // Name in the base model's files whose values are the first ones; empty = drawn from the seed.
  std::string starts_from;
  std::vector<int64_t> rows = {};  // of starts_from, one a row of the tensor; empty = all of it
};

// A Linear with a pair of factors: y += scale * B (A x).
struct LoraModule {
  LinearModule linear;
  int64_t rank = 0;
  double scale = 0;  // alpha / r, or alpha / sqrt(r) with rsLoRA
};

// A bottleneck adapter behind the output of one layer (AdapterHub seq_bn).
struct AdapterSite {
  std::string path;  // "model.layers.0.output_adapters", "bert.encoder.layer.0.output"
  int layer = 0;
  int64_t hidden = 0;
  int64_t bottleneck = 0;  // floor(hidden / reduction factor), at least 1
};

struct AdapterPlan {
  std::string method;                      // lora | adapter | full | prompt
  std::vector<LoraModule> lora;            // in module order
  std::vector<AdapterSite> sites;          // in layer order
  std::vector<std::string> saved_modules;  // trained whole: heads, pooler; paths, sorted
  std::optional<SoftPrompt> prompt;        // of method prompt
  // Every trainable or regenerated tensor, sorted by key. A tensor's position here is its address
  // in the random stream, trained or not.
  std::vector<TrainedTensor> tensors;
  bool freeze_a = false;  // lora_A is drawn once and never sent

  // What an export holds: all tensors but the coordinates of a prompt's subspace.
  Manifest full() const;
  // What is trained, sent and merged: all tensors but lora_A when freeze_a, and the prompt itself
  // when its subspace is trained.
  Manifest wire() const;
  // What starts from the base model's values: a part of wire().
  Manifest from_base() const;

  bool IsSent(const TrainedTensor& tensor) const;
};

// The name under which our bottleneck adapters stand in AdapterHub keys.
inline constexpr char kAdapterName[] = "rivulet";

// `config` must come from ForTask. `match` tells which heads the base file lacks and where the
// others lie. Classification trains its head always (as PEFT does for SEQ_CLS) and bert's pooler
// when the base has none. Method full trains the base's own tensors under their own names: all, or
// those of full.modules; a tied head is the embedding and no tensor of its own. Errors:
// InvalidArgument: targets (see SelectModules), the output head as a target, a module to save that
// is no Linear or a tied head, a layer to leave out that does not exist, no adapter left, a name in
// full.modules that no module has, more trained numbers than cma-es searches; those of
// SoftPromptOf; ResourceExhausted naming need and limit: more than 16 GiB or 4,096 tensors.
absl::StatusOr<AdapterPlan> PlanAdapter(const ModelConfig& config, const TensorMatch& match,
                                        const JobSpec& job);

// The first global state, manifest plan.wire(). Numbers come from RandomStream(seed,
// kInitialValues, 0) with tensor = position in plan.tensors:
//   lora_A uniform in (-1, 1) / sqrt(in); lora_B 0; adapter down N(0, 0.02^2), up and biases 0;
//   new heads and random prompts N(0, 0.02^2), biases 0; tensors of the base model and rows of its
//   embedding as they are there, in F32; coordinates of a prompt's subspace 0.
// So every job but one with a prompt starts as the base model. Errors: FailedPrecondition when
// values must be copied and `base` is null.
absl::StatusOr<ParameterSet> InitialState(const AdapterPlan& plan, uint64_t seed,
                                          const ModelFiles* base = nullptr);
// The same where the base model is not at hand, only what BaseTensors read of it. Errors:
// InvalidArgument when `from_base` is not of manifest plan.from_base().
absl::StatusOr<ParameterSet> InitialState(const AdapterPlan& plan, uint64_t seed,
                                          const ParameterSet& from_base);

// The values of plan.from_base() in the base model's files. Errors: FailedPrecondition naming a
// tensor that is not there as planned; InvalidArgument naming a value that is not finite.
absl::StatusOr<ParameterSet> BaseTensors(const AdapterPlan& plan, const ModelFiles& base);

// The full set of an export or a model: `wire` plus, with freeze_a, lora_A drawn anew from the
// seed, and the prompt that the coordinates of its subspace stand for. Errors: InvalidArgument when
// `wire` is not of manifest plan.wire(); FailedPrecondition when such a prompt starts from the base
// model and `base` is null.
absl::StatusOr<ParameterSet> CompleteState(const AdapterPlan& plan, uint64_t seed,
                                           const ParameterSet& wire,
                                           const ModelFiles* base = nullptr);

// Everything about the base model that a job needs, read from its folder.
struct JobModel {
  ModelConfig config;  // ForTask
  TensorMatch match;
  AdapterPlan plan;
};
absl::StatusOr<JobModel> DescribeJobModel(const std::filesystem::path& directory,
                                          const ModelFiles& files, const JobSpec& job);

// out[i] = value i of an F32, BF16 or F16 tensor. Aborts on another dtype or size.
void CopyAsFloats(const TensorView& tensor, std::span<float> out);

}  // namespace rivulet
