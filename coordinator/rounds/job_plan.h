#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "common/job/job_spec.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// What the coordinator needs to know of a job to run it: no model is ever built here.
struct JobPlan {
  JobSpec spec;
  std::string base_hash;                                  // "sha256:<hex>" that a client must have
  Manifest manifest;                                      // of the global state and of every update
  std::function<absl::StatusOr<ParameterSet>()> initial;  // round 0; computed when asked
};

// Reads a job document. Production: PlanOf; tests plan toy jobs with it.
using JobPlanner = std::function<absl::StatusOr<JobPlan>(std::string_view document)>;

// The plan of a canonical job document (common/job/job_document.h). Errors: InvalidArgument (exit
// 3) as the job file's.
absl::StatusOr<JobPlan> PlanOf(std::string_view document);

}  // namespace rivulet
