#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/job/job_spec.h"

namespace rivulet {

// Whether compression, masking, privacy and robust rules of a job can be right together. The error
// names both keys and what would work instead (docs/private_upload.md has the table).
absl::Status CheckPrivateUpload(const JobSpec& spec);

// What is legal there but should be known, one sentence each.
std::vector<std::string> PrivateUploadWarnings(const JobSpec& spec);

// Whether clients of a job under a privacy.mechanism report figures of held-out records: without
// noise, hence outside of its epsilon.
bool EvaluatesInClear(const JobSpec& spec);

// Clients in a round's result, at least: job.min-clients; with masking also FewestInSum of each of
// FewestGroups; without it also what robust.rule needs for robust.faulty liars.
int FewestSummed(const JobSpec& spec);

// Under masks: groups in a round's result, at least; 1 without robust.groups.
int FewestGroups(const JobSpec& spec);
// Under masks: clients in a sum that is opened, at least.
int FewestInSum(const JobSpec& spec);

// Under masks without noise votes (scalars.combine) are summed as the whole numbers -1, 0 and 1.
bool MasksVotes(const JobSpec& spec);

// compression.codec = "power-sgd": one step of the model takes two masked sums, each a round of the
// job. Odd rounds are first passes, which move nothing; even ones are second passes.
bool InTwoPasses(const JobSpec& spec);
bool IsSecondPass(const JobSpec& spec, uint64_t round);

}  // namespace rivulet
