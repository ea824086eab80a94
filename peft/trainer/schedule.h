#pragma once

#include <cstdint>
#include <vector>

#include "common/job/job_spec.h"
#include "common/random.h"

namespace rivulet {

// Factor on the learning rate at optimiser step `step` (1 .. total): linear warm-up over
// ceil(warmup_ratio * total) steps, then constant, linear to 0 or half a cosine to 0.
double LearningRateFactor(const TrainSection& train, int64_t step, int64_t total);

// One optimiser step's examples: micro-batches of positions in the client's training data.
using StepPlan = std::vector<std::vector<uint32_t>>;

// The steps of one client's round, made one at a time: a long round needs no more memory than one
// pass over the data. Each pass is a fresh permutation (stream kDataOrder, index = pass) cut into
// full micro-batches; what is left over is dropped, unless there is not one full batch. A pass ends
// with a step of fewer micro-batches where accumulation does not divide it.
class StepOrder {
 public:
  // n >= 1 examples. `train` must outlive it, and max_steps or local_epochs be above 0.
  StepOrder(const TrainSection& train, uint64_t root, uint32_t n);
  // max_steps where that is above 0, with as many passes as they take; else those of local_epochs.
  int64_t total() const;
  StepPlan Next();

 private:
  int64_t StepsOfPass() const;

  const TrainSection& train_;
  uint64_t root_;
  uint32_t n_;
  uint64_t passes_ = 0;                      // begun
  std::vector<std::vector<uint32_t>> left_;  // micro-batches of the current pass, last first
};

}  // namespace rivulet
