#pragma once

#include <filesystem>
#include <memory>

#include "common/job/job_spec.h"
#include "peft/trainer/tuner.h"

namespace rivulet {

class BaseModel;
class Method;

// Loads the base model of a job from `directory`, as its task, labels and dtype want it.
absl::StatusOr<std::shared_ptr<const BaseModel>> LoadBaseModel(
    const std::filesystem::path& directory, const JobSpec& job);

// Backpropagation with AdamW or SGD, training what the job says (common/formats' PlanAdapter; the
// tuner's manifest is plan.wire()). `base` is shared, not copied, by every tuner made from it.
// Errors: those of PlanAdapter and MakeMethod.
absl::StatusOr<std::unique_ptr<Tuner>> MakeFirstOrderTuner(std::shared_ptr<const BaseModel> base,
                                                           const JobSpec& job);

// The same with a method of the caller's choice.
std::unique_ptr<Tuner> MakeFirstOrderTuner(std::shared_ptr<const BaseModel> base,
                                           std::unique_ptr<Method> method, const JobSpec& job);

}  // namespace rivulet
