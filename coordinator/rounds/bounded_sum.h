#pragma once

#include "aggregation/fixed_point_sum.h"
#include "common/status.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// Adds one update with weight 1, if the very integers that are added have an L2 norm of at most
// `bound` grid steps: computed exactly, after rounding. This and not the clipping of floats is what
// noise is scaled by. Takes the memory of another sum meanwhile.
// Errors: FailedPrecondition of CheckIntegerNorm; those of FixedPointSum::Add. `sum` is unchanged
// then.
absl::Status AddBounded(const ParameterSet& update, double bound, FixedPointSum& sum);

}  // namespace rivulet
