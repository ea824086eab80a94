#pragma once

#include <cstdint>

#include "common/job/job_spec.h"
#include "common/status.h"

namespace rivulet {

// How much one update counts, by `strategy.weighting`:
//   examples  the examples it was trained on
//   tokens    the tokens that carried loss; in classification the examples, whose label does
//   uniform   1
//   capped    tokens, at most `strategy.weight-cap`: bounds the influence of one large client
// The same for every server optimiser.
//
// `cohort` is how many clients the round has invited, at least 1. Their weights must sum to less
// than 2^31, so counts c become
//   w = min(floor((2^31 - 1) / cohort), max(1, floor(c / 2^s))),   s = bits of floor(cohort / 2048)
// In a cohort of up to 2,047 s is 0 and w = c. In a larger one every client counts in units of 2^s,
// and one of up to 2^20 tokens is never cut, whatever the cohort. Public, and the same for all.
//
// Returns 1 .. floor((2^31 - 1) / cohort). Errors: InvalidArgument naming the count seen when it is
// outside 1 .. 2^31 - 1 (a client that saw nothing has nothing to say), or an unknown weighting.
absl::StatusOr<int64_t> WeightOf(const StrategySection& strategy, int64_t examples, int64_t tokens,
                                 int64_t cohort);

}  // namespace rivulet
