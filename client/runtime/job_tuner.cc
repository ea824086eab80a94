#include "client/runtime/job_tuner.h"

#include <utility>

#include "common/formats/adapter_manifest.h"
#include "peft/method/method.h"
#include "peft/trainer/first_order_tuner.h"

namespace rivulet {
namespace {

// lora_A of a freeze-a job: the rows of the full set that the wire does not carry.
absl::StatusOr<ParameterSet> FrozenFactors(const AdapterPlan& plan, uint64_t seed,
                                           const ModelFiles& files) {
  if (!plan.freeze_a) return ParameterSet();
  RV_ASSIGN_OR_RETURN(const ParameterSet initial, InitialState(plan, seed, &files));
  RV_ASSIGN_OR_RETURN(const ParameterSet full, CompleteState(plan, seed, initial));
  Manifest frozen;
  for (const TensorSpec& row : full.manifest()) {
    if (initial.IndexOf(row.name) < 0) frozen.push_back(row);
  }
  ParameterSet fixed(frozen);
  for (size_t row = 0; row < frozen.size(); ++row) {
    const auto source = full.bytes(static_cast<size_t>(full.IndexOf(frozen[row].name)));
    std::copy(source.begin(), source.end(), fixed.bytes(row).begin());
  }
  return fixed;
}

absl::StatusOr<std::unique_ptr<Method>> MakeMethod(const JobSpec& spec, const AdapterPlan& plan,
                                                   const ModelFiles& files) {
  if (plan.method == "adapter") return MakeSeqBn(plan.wire(), spec.adapter.non_linearity);
  LoraSettings settings;
  settings.alpha = spec.lora.lora_alpha;
  settings.use_rslora = spec.lora.use_rslora;
  settings.dropout = spec.lora.lora_dropout;
  RV_ASSIGN_OR_RETURN(settings.fixed, FrozenFactors(plan, spec.job.seed, files));
  return MakeLora(plan.wire(), std::move(settings));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tuner>> MakeJobTuner(const std::filesystem::path& directory,
                                                    const JobSpec& spec) {
  RV_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(directory));
  RV_ASSIGN_OR_RETURN(const JobModel model, DescribeJobModel(directory, files, spec));
  RV_ASSIGN_OR_RETURN(std::unique_ptr<Method> method, MakeMethod(spec, model.plan, files));
  RV_ASSIGN_OR_RETURN(std::shared_ptr<const BaseModel> base, LoadBaseModel(directory, spec));
  return MakeFirstOrderTuner(std::move(base), std::move(method), spec);
}

}  // namespace rivulet
