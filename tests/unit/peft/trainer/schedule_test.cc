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

TEST(PlanSteps, DropsTheIncompleteLastBatch) {
  const auto steps = PlanSteps(Settings(4, 1, 1, 0), 7, 11);
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

TEST(PlanSteps, AClientWithoutOneFullBatchTrainsOnWhatItHas) {
  const auto steps = PlanSteps(Settings(8, 1, 2, 0), 7, 3);
  ASSERT_EQ(steps.size(), 2u);  // one an epoch
  EXPECT_EQ(steps[0][0].size(), 3u);
}

TEST(PlanSteps, EveryEpochIsShuffledAnew) {
  const auto steps = PlanSteps(Settings(16, 1, 2, 0), 7, 16);
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_NE(steps[0][0], steps[1][0]);
}

TEST(PlanSteps, MaxStepsCapsAndNeverExtends) {
  EXPECT_EQ(PlanSteps(Settings(2, 1, 3, 4), 7, 10).size(), 4u);
  EXPECT_EQ(PlanSteps(Settings(2, 1, 1, 40), 7, 10).size(), 5u);
}

TEST(PlanSteps, AccumulationGroupsMicroBatchesAndKeepsTheRemainder) {
  const auto steps = PlanSteps(Settings(2, 3, 1, 0), 7, 14);
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(steps[0].size(), 3u);
  EXPECT_EQ(steps[2].size(), 1u);
}

TEST(PlanSteps, DependsOnTheRootAlone) {
  EXPECT_EQ(PlanSteps(Settings(2, 1, 1, 0), 7, 20), PlanSteps(Settings(2, 1, 1, 0), 7, 20));
  EXPECT_NE(PlanSteps(Settings(2, 1, 1, 0), 7, 20), PlanSteps(Settings(2, 1, 1, 0), 8, 20));
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
