#pragma once

#include <cstdint>
#include <string>

#include "common/job/job_spec.h"
#include "privacy/secagg/shared/params.h"

namespace rivulet {

// What [secure-aggregation] comes to in one sum that `invited` clients are asked for; `fewest` is
// the job's FewestInSum. Sets mode, rates, n_min, n_max, complete_max and graph policy of `params`,
// which are new, and nothing else. `drawn`: they are a group that was drawn, of which no more may
// be missing than may drop out, or it could be trimmed to those whom a coordinator wants to see
// together.
void SetMaskingTerms(const SecureAggregationSection& masking, uint32_t fewest, uint32_t invited,
                     bool drawn, secagg::Params& params);

// How many sums a cohort of so many clients makes: `groups` (robust.groups), or fewer so that each
// has the `least` members it needs, at least 1; 1 without groups.
uint32_t MaskedSums(uint32_t groups, uint32_t least, uint32_t cohort);

// For people: the keys that are 0 for "as the protocol has it", as they are where a whole cohort
// takes part. "8 clients a sum: neighbours 7, threshold 6, quorum 6, min-survivors 4"; with groups
// of two sizes both, "; " between them. Errors: those of the protocol's table for such a cohort.
// `cohort` >= 1.
absl::StatusOr<std::string> MaskingTermsText(const JobSpec& spec, uint32_t cohort);

// The same as comments behind a printed job file: for job.clients-per-round, or where that is 0 for
// the smallest cohort and some larger ones. Empty without masks.
std::string MaskingComment(const JobSpec& spec);

}  // namespace rivulet
