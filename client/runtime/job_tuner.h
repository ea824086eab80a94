#pragma once

#include <filesystem>
#include <memory>

#include "common/job/job_spec.h"
#include "peft/trainer/tuner.h"

namespace rivulet {

// The tuner of a job over the base model in `directory`: base, method and optimiser as the spec
// says. Errors: those of DescribeJobModel, LoadBaseModel and the method.
absl::StatusOr<std::unique_ptr<Tuner>> MakeJobTuner(const std::filesystem::path& directory,
                                                    const JobSpec& spec);

}  // namespace rivulet
