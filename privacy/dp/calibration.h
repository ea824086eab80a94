#pragma once

#include <cstdint>

#include "common/status.h"
#include "privacy/dp/accountant.h"

namespace rivulet {

struct NoiseTarget {
  double epsilon = 0;  // nats, > 0
  double delta = 0;
  double q = 1;  // 1: everybody, exact; below 1: Poisson sampling
  int64_t steps = 1;
};
struct CalibratedNoise {
  double sigma = 0;
  Epsilon verified;  // of that sigma: report this, not the target
};

inline constexpr double kLeastCalibratedSigma = 0.05;
inline constexpr double kMostCalibratedSigma = 1000;

// The smallest noise multiplier in [0.05, 1000] whose reported epsilon is at most the target, to
// 1e-4 relative from above: bracketed with Renyi orders, then bisected with loss distributions.
// Takes some seconds when q < 1. Errors: InvalidArgument for a target out of range; OutOfRange when
// not even sigma = 1000 reaches it; those of EpsilonAt.
absl::StatusOr<CalibratedNoise> CalibrateNoise(const NoiseTarget& target);

}  // namespace rivulet
