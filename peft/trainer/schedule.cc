#include "peft/trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rivulet {
namespace {

using MicroBatches = std::vector<std::vector<uint32_t>>;

MicroBatches EpochOf(const TrainSection& train, uint64_t root, uint64_t epoch, uint32_t n) {
  RandomCursor cursor(RandomStream(root, Purpose::kDataOrder, epoch));
  const std::vector<uint32_t> order = Permutation(cursor, n);
  const size_t size = static_cast<size_t>(train.per_device_train_batch_size);
  MicroBatches batches;
  for (size_t first = 0; first + size <= n; first += size) {
    batches.emplace_back(order.begin() + first, order.begin() + first + size);
  }
  if (batches.empty()) batches.push_back(order);
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

std::vector<StepPlan> PlanSteps(const TrainSection& train, uint64_t root, uint32_t n) {
  const size_t accumulate = static_cast<size_t>(train.gradient_accumulation_steps);
  std::vector<StepPlan> steps;
  for (int epoch = 0; epoch < train.local_epochs; ++epoch) {
    MicroBatches batches = EpochOf(train, root, static_cast<uint64_t>(epoch), n);
    for (size_t first = 0; first < batches.size(); first += accumulate) {
      if (train.max_steps > 0 && steps.size() == static_cast<size_t>(train.max_steps)) return steps;
      const size_t last = std::min(batches.size(), first + accumulate);
      steps.emplace_back(std::make_move_iterator(batches.begin() + first),
                         std::make_move_iterator(batches.begin() + last));
    }
  }
  return steps;
}

}  // namespace rivulet
