#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"

namespace rivulet {

// One update, seen not owned: all trained tensors together. The norm of the whole is what privacy
// accounts with; there is no function that clips one tensor.
using ClipView = std::span<const std::span<const float>>;

// L2 norm over all values of all tensors, summed in fp64 (compensated by blocks), >= 0.
// Errors: InvalidArgument naming tensor and index of the first value that is NaN or infinite: such
// an update is refused, never clipped.
absl::StatusOr<double> NormOf(ClipView tensors);
absl::StatusOr<double> NormOf(std::span<const std::span<const double>> tensors);

// 1 when norm <= clip_norm, else clip_norm (1 - 1e-6) / norm: the margin covers the rounding of
// fp32 products. Errors: InvalidArgument for a norm or clip_norm that is not finite or clip_norm
// <= 0.
absl::StatusOr<double> ClipFactorOf(double norm, double clip_norm);

struct Clipped {
  double norm = 0;     // before
  double factor = 1;   // what to multiply every value by
  bool within = true;  // norm <= clip_norm: the bit of adaptive clipping
};
absl::StatusOr<Clipped> ClipOf(ClipView tensors, double clip_norm);

// sum of q^2 <= floor(bound_squared), exactly. This and not the float clip is the guarantee.
// Errors: InvalidArgument for a bound that is not finite or negative; FailedPrecondition "norm^2:
// got X, want at most Y".
absl::Status CheckIntegerNorm(std::span<const int64_t> values, double bound_squared);

}  // namespace rivulet
