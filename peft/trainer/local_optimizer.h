#pragma once

#include <cstdint>
#include <vector>

#include "common/job/job_spec.h"

namespace rivulet {

// The optimiser of one client's round; its state starts at zero every round. Not thread safe.
class LocalOptimizer {
 public:
  LocalOptimizer(const TrainSection& train, int64_t n);
  // One step of `values` [n] along `gradient` [n], scaled by `clip` first.
  void Step(double learning_rate, float clip, const float* gradient, float* values);

 private:
  const TrainSection train_;
  int64_t n_;
  int64_t step_ = 0;
  std::vector<float> first_, second_;  // moments, or the momentum buffer
};

// min(1, limit / (norm + 1e-6)); 1 when limit is 0. `norm` must be finite.
float ClipFactor(double norm, double limit);

}  // namespace rivulet
