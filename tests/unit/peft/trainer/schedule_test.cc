#include "peft/trainer/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "peft/trainer/local_optimizer.h"

namespace rivulet {
namespace {

TrainSection Settings(int batch, int accumulate, int epochs, int max_steps) {
  TrainSection train;
  train.per_device_train_batch_size = batch;
  train.gradient_accumulation_steps = accumulate;
  train.local_epochs = epochs;
  train.max_steps = max_steps;
  return train;
}

std::vector<StepPlan> StepsOf(const TrainSection& train, uint64_t root, uint32_t n) {
  StepOrder order(train, root, n);
  std::vector<StepPlan> steps;
  while (static_cast<int64_t>(steps.size()) < order.total()) steps.push_back(order.Next());
  return steps;
}

TEST(StepOrder, DropsTheIncompleteLastBatch) {
  const auto steps = StepsOf(Settings(4, 1, 1, 0), 7, 11);
  ASSERT_EQ(steps.size(), 2u);
  std::set<uint32_t> seen;
  for (const StepPlan& step : steps) {
    ASSERT_EQ(step.size(), 1u);
    EXPECT_EQ(step[0].size(), 4u);
    seen.insert(step[0].begin(), step[0].end());
  }
  EXPECT_EQ(seen.size(), 8u);  // no example twice
  EXPECT_LT(*seen.rbegin(), 11u);
}

TEST(StepOrder, AClientWithoutOneFullBatchTrainsOnWhatItHas) {
  const auto steps = StepsOf(Settings(8, 1, 2, 0), 7, 3);
  ASSERT_EQ(steps.size(), 2u);  // one an epoch
  EXPECT_EQ(steps[0][0].size(), 3u);
}

TEST(StepOrder, EveryEpochIsShuffledAnew) {
  const auto steps = StepsOf(Settings(16, 1, 2, 0), 7, 16);
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_NE(steps[0][0], steps[1][0]);
}

TEST(StepOrder, MaxStepsIsTheNumberOfStepsWhateverLocalEpochsSays) {
  for (int epochs : {0, 1, 3}) {
    EXPECT_EQ(StepsOf(Settings(2, 1, epochs, 4), 7, 10).size(), 4u);
    EXPECT_EQ(StepsOf(Settings(2, 1, epochs, 40), 7, 10).size(), 40u);
  }
}

// 10 examples in batches of 2: five steps a pass, each pass a permutation of its own.
TEST(StepOrder, MaxStepsBeginsANewShuffledPassWhenTheDataAreUsedUp) {
  const auto steps = StepsOf(Settings(2, 1, 1, 12), 7, 10);
  ASSERT_EQ(steps.size(), 12u);
  std::vector<std::vector<uint32_t>> passes(3);
  for (size_t step = 0; step < steps.size(); ++step) {
    const std::vector<uint32_t>& batch = steps[step].at(0);
    passes[step / 5].insert(passes[step / 5].end(), batch.begin(), batch.end());
  }
  EXPECT_NE(passes[0], passes[1]);
  for (size_t pass : {0u, 1u}) {
    EXPECT_EQ(std::set<uint32_t>(passes[pass].begin(), passes[pass].end()).size(), 10u);
  }
  EXPECT_EQ(passes[2].size(), 4u);
}

TEST(StepOrder, AStepIsTheSameByEpochsAndByMaxSteps) {
  EXPECT_EQ(StepsOf(Settings(2, 2, 3, 0), 7, 10), StepsOf(Settings(2, 2, 1, 9), 7, 10));
}

TEST(StepOrder, AccumulationGroupsMicroBatchesAndKeepsTheRemainder) {
  const auto steps = StepsOf(Settings(2, 3, 1, 0), 7, 14);
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(steps[0].size(), 3u);
  EXPECT_EQ(steps[2].size(), 1u);
}

TEST(StepOrder, DependsOnTheRootAlone) {
  EXPECT_EQ(StepsOf(Settings(2, 1, 1, 0), 7, 20), StepsOf(Settings(2, 1, 1, 0), 7, 20));
  EXPECT_NE(StepsOf(Settings(2, 1, 1, 0), 7, 20), StepsOf(Settings(2, 1, 1, 0), 8, 20));
}

// By hand: 10 steps, ratio 0.2 = 2 warm-up steps; the remaining 8 fall from 1 to 1/8 (linear), or
// along half a cosine: step 7 has 4 of 8 behind it.
TEST(LearningRateFactor, WarmsUpThenFollowsItsCurve) {
  TrainSection train;
  train.warmup_ratio = 0.2;
  EXPECT_DOUBLE_EQ(LearningRateFactor(train, 1, 10), 0.5);
  EXPECT_DOUBLE_EQ(LearningRateFactor(train, 2, 10), 1.0);
  EXPECT_DOUBLE_EQ(LearningRateFactor(train, 10, 10), 1.0);
  train.lr_scheduler_type = "linear";
  EXPECT_DOUBLE_EQ(LearningRateFactor(train, 3, 10), 1.0);
  EXPECT_DOUBLE_EQ(LearningRateFactor(train, 10, 10), 0.125);
  train.lr_scheduler_type = "cosine";
  EXPECT_NEAR(LearningRateFactor(train, 7, 10), 0.5, 1e-15);
}

TEST(ClipFactor, ShrinksOnlyWhatIsTooLong) {
  EXPECT_EQ(ClipFactor(0.5, 1), 1.0f);
  EXPECT_FLOAT_EQ(ClipFactor(4, 1), 1 / 4.000001f);
  EXPECT_EQ(ClipFactor(1e9, 0), 1.0f);
}

}  // namespace
}  // namespace rivulet
