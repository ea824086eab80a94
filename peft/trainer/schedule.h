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

// All steps of one client's round. Each epoch is a fresh permutation (stream kDataOrder, index =
// epoch) cut into full micro-batches; what is left over is dropped, unless there is not one full
// batch. max_steps, when above 0, ends the list. n >= 1.
std::vector<StepPlan> PlanSteps(const TrainSection& train, uint64_t root, uint32_t n);

}  // namespace rivulet
