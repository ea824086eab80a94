#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/formats/adapter_manifest.h"
#include "common/job/job_spec.h"
#include "common/status.h"
#include "common/tensor/parameter_set.h"
#include "peft/model/adaptation.h"

namespace rivulet {

// A way to fine-tune a model: which tensors are trained (the manifest, also
// what travels) and how they enter the forward pass. Immutable; safe from many threads. What every
// method promises is in tests/unit/peft/method/contract_test.cc.
class Method {
 public:
  virtual ~Method() = default;
  virtual std::string_view name() const = 0;
  virtual const Manifest& manifest() const = 0;
  // The adaptation over one client's tensors, one a row of the manifest, in its order.
  virtual Adaptation Bind(std::span<const at::Tensor> tensors) const = 0;
};

struct LoraSettings {
  double alpha = 16;
  bool use_rslora = false;
  double dropout = 0;
  // Factors that are not trained and not in the manifest (freeze-a), by manifest name. F32.
  ParameterSet fixed;
};

// LoRA over the modules whose factors the manifest lists under PEFT names
// ("base_model.model.<module>.lora_A.weight"); every other row is a tensor trained whole
// ("base_model.model.<tensor>"). Scale alpha / r, or alpha / sqrt(r).
// Errors: InvalidArgument naming a factor without its partner, or shapes that do not belong
// together.
absl::StatusOr<std::unique_ptr<Method>> MakeLora(Manifest manifest, LoraSettings settings);

// Pfeiffer adapters under AdapterHub names ("...output.adapters.<name>.adapter_down.0.weight");
// every other row is a tensor trained whole, under its own name. `activation`: relu | gelu | swish
// | tanh. Errors: InvalidArgument for an incomplete adapter or an unknown activation.
absl::StatusOr<std::unique_ptr<Method>> MakeSeqBn(Manifest manifest, std::string_view activation);

// Where a prompt of a subspace starts: the prompt that z = 0 stands for.
struct PromptStart {
  std::span<const float> values;  // [tokens, hidden]; empty where the prompt itself is trained
  int64_t hidden = 0;
};

// A soft prompt: "prompt_embeddings" [tokens, hidden] of the manifest, or "prompt_subspace" [n] of
// the prompt start + A z (common/formats/soft_prompt.h; A is kept, tokens * hidden * n numbers).
// Every other row is a tensor trained whole, "base_model.<tensor>". `seed` is the job's. Errors:
// InvalidArgument when the manifest has neither, or a subspace without a start.
absl::StatusOr<std::unique_ptr<Method>> MakePrompt(Manifest manifest, const PromptStart& start,
                                                   uint64_t seed);

// Trains tensors of the base itself, in their own places and by their own names; a tied head is the
// embedding.
std::unique_ptr<Method> MakeWhole(Manifest manifest);

// The method of a job: what `plan` lists, with the job's seed for what is never sent. `base` is
// where a prompt of a subspace starts from; see CompleteState for the error without it.
absl::StatusOr<std::unique_ptr<Method>> MakeMethod(const AdapterPlan& plan, const JobSpec& job,
                                                   const ModelFiles* base = nullptr);

}  // namespace rivulet
