#pragma once

#include <cstdint>

#include "common/job/job_spec.h"
#include "common/status.h"

namespace rivulet {

// How much one update counts, by `strategy.weighting`:
//   examples  the examples it was trained on
//   tokens    the tokens that carried loss
//   uniform   1
//   capped    tokens, at most `strategy.weight-cap`: bounds the influence of one large client
// The same for every server optimiser.
// Returns 1 .. 2^31-1. Errors: InvalidArgument naming the count seen when it is outside (a client
// that saw nothing has nothing to say), or an unknown weighting.
absl::StatusOr<int64_t> WeightOf(const StrategySection& strategy, int64_t examples, int64_t tokens);

}  // namespace rivulet
