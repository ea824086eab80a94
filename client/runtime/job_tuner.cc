#include "client/runtime/job_tuner.h"

#include "peft/trainer/first_order_tuner.h"
#include "peft/zeroth_order/zeroth_order_tuner.h"

namespace rivulet {

absl::StatusOr<std::unique_ptr<Tuner>> MakeJobTuner(const std::filesystem::path& directory,
                                                    const JobSpec& spec) {
  RV_ASSIGN_OR_RETURN(std::shared_ptr<const BaseModel> base, LoadBaseModel(directory, spec));
  if (spec.train.estimator != "backprop") return MakeZerothOrderTuner(std::move(base), spec);
  return MakeFirstOrderTuner(std::move(base), spec);
}

}  // namespace rivulet
