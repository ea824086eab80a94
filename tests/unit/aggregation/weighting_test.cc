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
  EXPECT_EQ(*WeightOf(By("examples"), 12, 3456), 12);
  EXPECT_EQ(*WeightOf(By("tokens"), 12, 3456), 3456);
  EXPECT_EQ(*WeightOf(By("uniform"), 12, 3456), 1);
  EXPECT_EQ(*WeightOf(By("capped", 1000), 12, 3456), 1000);
  EXPECT_EQ(*WeightOf(By("capped", 5000), 12, 3456), 3456);
}

TEST(WeightOf, CountsOutsideAreRefusedNotWrapped) {
  EXPECT_EQ(WeightOf(By("tokens"), 1, 0).status().message(), "tokens: got 0, want 1 .. 2^31 - 1");
  EXPECT_FALSE(WeightOf(By("examples"), -1, 5).ok());
  EXPECT_FALSE(WeightOf(By("tokens"), 1, int64_t{1} << 31).ok());
  EXPECT_FALSE(WeightOf(By("capped", 0), 1, 5).ok());
  EXPECT_EQ(WeightOf(By("loss"), 1, 1).status().message(),
            "strategy.weighting: got 'loss', want examples, tokens, uniform or capped");
}

}  // namespace
}  // namespace rivulet
