#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "common/job/job_spec.h"
#include "common/scalars/scalar_form.h"
#include "common/tensor/parameter_set.h"
#include "privacy/masking/masked_form.h"

namespace rivulet {

// What the coordinator needs to know of a job to run it: no model is ever built here.
struct JobPlan {
  JobSpec spec;
  std::string base_hash;        // "sha256:<hex>" that a client must have
  Manifest manifest;            // of the global state, and of every update but with [scalars]
  Manifest from_base;           // the part of it that starts from the base model's values
  std::string base_tensors;     // SHA-256 of the file of those values; empty when there are none
  double noise_multiplier = 0;  // z of privacy.mechanism = "central"
  std::optional<ScalarForm> scalars;  // with scalars.enabled: what updates are
  std::optional<MaskedForm> masked;   // with secure-aggregation.enabled
  // Round 0, of a set of manifest `from_base`; computed when asked.
  std::function<absl::StatusOr<ParameterSet>(const ParameterSet& from_base)> initial;

  const Manifest& update_manifest() const { return scalars ? scalars->manifest() : manifest; }
};

// Reads a job document. Production: PlanOf; tests plan toy jobs with it.
using JobPlanner = std::function<absl::StatusOr<JobPlan>(std::string_view document)>;

// The settings alone, without the work of a plan: what an ended job is shown by. Production:
// SpecOf.
using SpecReader = std::function<absl::StatusOr<JobSpec>(std::string_view document)>;
absl::StatusOr<JobSpec> SpecOf(std::string_view document);

// The plan of a canonical job document (common/job/job_document.h). Errors: InvalidArgument (exit
// 3) as the job file's, and for a document that names base tensors it does not need, or none where
// it does.
absl::StatusOr<JobPlan> PlanOf(std::string_view document);

// What a job that is submitted must keep besides, and one that runs need not: its cohorts may have
// been smaller than it allows. Errors: InvalidArgument (exit 3).
absl::Status CheckNewJob(const JobPlan& plan);

}  // namespace rivulet
