#include "peft/method/method.h"

namespace rivulet {
namespace {

// lora_A of every module when the job freezes it: drawn from the seed, never sent.
absl::StatusOr<ParameterSet> FixedFactors(const AdapterPlan& plan, uint64_t seed) {
  if (!plan.freeze_a) return ParameterSet();
  return CompleteState(plan, seed, ParameterSet(plan.wire()));
}

absl::StatusOr<std::unique_ptr<Method>> LoraOf(const AdapterPlan& plan, const JobSpec& job) {
  LoraSettings settings;
  settings.alpha = job.lora.lora_alpha;
  settings.use_rslora = job.lora.use_rslora;
  settings.dropout = job.lora.lora_dropout;
  RV_ASSIGN_OR_RETURN(settings.fixed, FixedFactors(plan, job.job.seed));
  return MakeLora(plan.wire(), std::move(settings));
}

// Of a subspace, the prompt that its origin stands for.
absl::StatusOr<std::unique_ptr<Method>> PromptOf(const AdapterPlan& plan, uint64_t seed,
                                                 const ModelFiles* base) {
  if (plan.prompt->subspace == 0) return MakePrompt(plan.wire(), {}, seed);
  RV_ASSIGN_OR_RETURN(const ParameterSet full,
                      CompleteState(plan, seed, ParameterSet(plan.wire()), base));
  const auto start = full.floats(static_cast<size_t>(full.IndexOf(kPromptKey)));
  return MakePrompt(plan.wire(), {start, plan.prompt->hidden}, seed);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeMethod(const AdapterPlan& plan, const JobSpec& job,
                                                   const ModelFiles* base) {
  if (plan.method == "lora") return LoraOf(plan, job);
  if (plan.method == "adapter") return MakeSeqBn(plan.wire(), job.adapter.non_linearity);
  if (plan.method == "full") return MakeWhole(plan.wire());
  if (plan.method == "prompt") return PromptOf(plan, job.job.seed, base);
  return Refuse(absl::StatusCode::kInvalidArgument,
                "method: got '" + plan.method + "', want lora, adapter, full or prompt");
}

}  // namespace rivulet
