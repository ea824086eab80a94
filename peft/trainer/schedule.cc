#include "peft/trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rivulet {
namespace {

// Micro-batches of one pass, the first one last.
std::vector<std::vector<uint32_t>> PassOf(const TrainSection& train, uint64_t root, uint64_t pass,
                                          uint32_t n) {
  RandomCursor cursor(RandomStream(root, Purpose::kDataOrder, pass));
  const std::vector<uint32_t> order = Permutation(cursor, n);
  const size_t size = static_cast<size_t>(train.per_device_train_batch_size);
  std::vector<std::vector<uint32_t>> batches;
  for (size_t first = 0; first + size <= n; first += size) {
    batches.emplace_back(order.begin() + first, order.begin() + first + size);
  }
  if (batches.empty()) batches.push_back(order);
  std::reverse(batches.begin(), batches.end());
  return batches;
}

}  // namespace

double LearningRateFactor(const TrainSection& train, int64_t step, int64_t total) {
  const int64_t warmup =
      static_cast<int64_t>(std::ceil(train.warmup_ratio * static_cast<double>(total)));
  if (step <= warmup) return static_cast<double>(step) / static_cast<double>(warmup);
  const double done = static_cast<double>(step - 1 - warmup) / static_cast<double>(total - warmup);
  if (train.lr_scheduler_type == "linear") return 1 - done;
  if (train.lr_scheduler_type == "cosine") return 0.5 * (1 + std::cos(std::numbers::pi * done));
  return 1;
}

StepOrder::StepOrder(const TrainSection& train, uint64_t root, uint32_t n)
    : train_(train), root_(root), n_(n) {}

int64_t StepOrder::StepsOfPass() const {
  const int64_t accumulate = train_.gradient_accumulation_steps;
  const int64_t batches = std::max<int64_t>(1, n_ / train_.per_device_train_batch_size);
  return (batches + accumulate - 1) / accumulate;
}

int64_t StepOrder::total() const {
  return train_.max_steps > 0 ? train_.max_steps : train_.local_epochs * StepsOfPass();
}

StepPlan StepOrder::Next() {
  if (left_.empty()) left_ = PassOf(train_, root_, passes_++, n_);
  const size_t accumulate = static_cast<size_t>(train_.gradient_accumulation_steps);
  StepPlan step;
  while (!left_.empty() && step.size() < accumulate) {
    step.push_back(std::move(left_.back()));
    left_.pop_back();
  }
  return step;
}

}  // namespace rivulet
