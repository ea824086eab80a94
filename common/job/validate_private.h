#pragma once

#include <string>
#include <vector>

#include "common/job/job_spec.h"

namespace rivulet {

// Whether compression, masking, privacy and robust rules of a job can be right together. The error
// names both keys and what would work instead (docs/private_upload.md has the table).
absl::Status CheckPrivateUpload(const JobSpec& spec);

// What is legal there but should be known, one sentence each.
std::vector<std::string> PrivateUploadWarnings(const JobSpec& spec);

// Clients in a round's result, at least: job.min-clients; with masking also
// secure-aggregation.min-survivors; without it also what robust.rule needs for robust.faulty liars.
int FewestSummed(const JobSpec& spec);

}  // namespace rivulet
