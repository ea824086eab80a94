#include "aggregation/weighting.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

StrategySection By(const char* weighting, int64_t cap = 0) {
  StrategySection strategy;
  strategy.weighting = weighting;
  strategy.weight_cap = cap;
  return strategy;
}

TEST(WeightOf, CountsWhatTheStrategySays) {
  EXPECT_EQ(*WeightOf(By("examples"), 12, 3456, 10), 12);
  EXPECT_EQ(*WeightOf(By("tokens"), 12, 3456, 10), 3456);
  EXPECT_EQ(*WeightOf(By("uniform"), 12, 3456, 10), 1);
  EXPECT_EQ(*WeightOf(By("capped", 1000), 12, 3456, 10), 1000);
  EXPECT_EQ(*WeightOf(By("capped", 5000), 12, 3456, 10), 3456);
}

TEST(WeightOf, CountsOutsideAreRefusedNotWrapped) {
  EXPECT_EQ(WeightOf(By("tokens"), 1, 0, 10).status().message(),
            "tokens: got 0, want 1 .. 2^31 - 1");
  EXPECT_FALSE(WeightOf(By("examples"), -1, 5, 10).ok());
  EXPECT_FALSE(WeightOf(By("tokens"), 1, int64_t{1} << 31, 10).ok());
  EXPECT_FALSE(WeightOf(By("capped", 0), 1, 5, 10).ok());
  EXPECT_EQ(WeightOf(By("loss"), 1, 1, 10).status().message(),
            "strategy.weighting: got 'loss', want examples, tokens, uniform or capped");
}

TEST(WeightOf, LargeCohortsCountInPowersOfTwo) {
  // 2047 * 2^20 < 2^31 <= 2048 * 2^20.
  EXPECT_EQ(*WeightOf(By("tokens"), 1, (1 << 20) - 1, 2047), (1 << 20) - 1);
  EXPECT_EQ(*WeightOf(By("tokens"), 1, (1 << 20) - 1, 2048), (1 << 19) - 1);
  EXPECT_EQ(*WeightOf(By("tokens"), 1, 1000, 4095), 500);
  EXPECT_EQ(*WeightOf(By("tokens"), 1, 1000, 4096), 250);
  EXPECT_EQ(*WeightOf(By("tokens"), 1, 1, 1'000'000), 1);
  EXPECT_EQ(*WeightOf(By("uniform"), 1, 1000, 1'000'000), 1);
}

TEST(WeightOf, NoCohortReachesTheLimitOfASumNorCutsAClientOfAMillionTokens) {
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  for (int64_t cohort = 1; cohort <= 1'000'000; cohort = cohort * 5 / 4 + 1) {
    const int64_t largest = *WeightOf(By("tokens"), 1, kMost, cohort);
    EXPECT_LE(largest * cohort, kMost) << cohort;
    const int64_t million = *WeightOf(By("tokens"), 1, 1 << 20, cohort);
    // Not cut: twice as many tokens count twice as much as half of them, to the unit.
    const int64_t half = *WeightOf(By("tokens"), 1, 1 << 19, cohort);
    EXPECT_EQ(million, 2 * half) << cohort;
  }
}

}  // namespace
}  // namespace rivulet
