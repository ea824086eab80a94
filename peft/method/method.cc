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

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeMethod(const AdapterPlan& plan, const JobSpec& job) {
  if (plan.method == "lora") return LoraOf(plan, job);
  if (plan.method == "adapter") return MakeSeqBn(plan.wire(), job.adapter.non_linearity);
  if (plan.method == "full") return MakeWhole(plan.wire());
  return Refuse(absl::StatusCode::kInvalidArgument,
                "method: got '" + plan.method + "', want lora, adapter or full");
}

}  // namespace rivulet
