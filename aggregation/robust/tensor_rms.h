#pragma once

#include <span>
#include <vector>

#include "aggregation/fixed_point_sum.h"
#include "common/status.h"

namespace rivulet {

// The running scale of every tensor, for RobustContext::tensor_rms: decay * running + (1 - decay) *
// the median over the updates of the tensor's root mean square. A median, so that less than half of
// the updates cannot move it out of the range of the others.
//   running   of the rounds before, one for each row of `manifest`; empty in the first round
// A tensor of which the median is 0 keeps its scale; it begins at 1.
// Errors: InvalidArgument when a size does not fit, a scale is not above 0, decay is not in [0, 1)
// or a value is not finite; FailedPrecondition without updates.
absl::StatusOr<std::vector<double>> NextTensorRms(std::span<const double> running,
                                                  const Manifest& manifest,
                                                  const std::vector<UpdateView>& updates,
                                                  double decay = 0.9);

}  // namespace rivulet
