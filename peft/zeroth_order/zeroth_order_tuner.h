#pragma once

#include <memory>

#include "common/job/job_spec.h"
#include "peft/trainer/tuner.h"

namespace rivulet {

class BaseModel;

// Steps from losses alone, as train.estimator says (docs/backprop_free.md): what the job trains is
// that of MakeFirstOrderTuner, with the same data order. Example privacy is refused. Errors: those
// of PlanAdapter and MakeMethod.
absl::StatusOr<std::unique_ptr<Tuner>> MakeZerothOrderTuner(std::shared_ptr<const BaseModel> base,
                                                            const JobSpec& job);

}  // namespace rivulet
