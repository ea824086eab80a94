#pragma once

#include "aggregation/robust/rule_base.h"

namespace rivulet {

// median and trimmed-mean: the mean of each coordinate without the `drop` lowest and highest.
// Errors: as RobustRule::Aggregate.
absl::StatusOr<RobustResult> MeanOfMiddleValues(const UpdateBatch& batch, size_t drop);

}  // namespace rivulet
