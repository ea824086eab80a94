#include "peft/kernels/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "peft/kernels/dropout.h"

namespace rivulet::kernels {
namespace {

// Worked by hand: t = 1, m = 0.1, v = 0.001, both corrections leave g / |g| = 1, so
// w = 2 (1 - 0.1 * 0.5) - 0.1 * 1 = 1.8.
TEST(AdamW, FirstStepMovesByTheLearningRate) {
  float w = 2, m = 0, v = 0;
  const float g = 1;
  AdamW({0.1, 0.9, 0.999, 1e-8, 0.5, 1}, &g, &w, &m, &v, 1);
  EXPECT_NEAR(w, 1.8, 1e-6);
  EXPECT_NEAR(m, 0.1, 1e-7);
  EXPECT_NEAR(v, 0.001, 1e-8);
}

TEST(AdamW, TheClipFactorScalesTheGradientFirst) {
  float w = 0, m = 0, v = 0;
  const float g = 4;
  AdamW({0.1, 0.9, 0.999, 1e-8, 0, 1, 0.25f}, &g, &w, &m, &v, 1);
  EXPECT_NEAR(m, 0.1, 1e-7);
}

// By hand: b1 = 1, w1 = 1 - 0.1; b2 = 0.5 * 1 + 1 = 1.5, w2 = 0.9 - 0.15.
TEST(Sgd, MomentumStartsWithTheFirstGradient) {
  float w = 1, b = 123;
  const float g = 1;
  Sgd({0.1, 0.5, 0, true}, &g, &w, &b, 1);
  EXPECT_NEAR(w, 0.9, 1e-7);
  Sgd({0.1, 0.5, 0, false}, &g, &w, &b, 1);
  EXPECT_NEAR(w, 0.75, 1e-7);
}

TEST(SumOfSquares, CountsEveryElementOnce) {
  for (int n : {0, 1, 7, 8, 9, 100}) {
    const std::vector<float> x(n, 3.0f);
    EXPECT_EQ(SumOfSquares(x.data(), n), 9.0 * n);
  }
}

// 40,000 draws at rate 0.25: four standard deviations are 346; a false alarm once in 16,000 seeds.
TEST(Dropout, DropsTheShareAskedForAndScalesTheRest) {
  const std::vector<float> x(40000, 3.0f);
  std::vector<float> y(x.size());
  Dropout(RandomStream(1, Purpose::kDropout, 0), 5, 0.25, x.data(), y.data(), 40000);
  int64_t dropped = 0;
  for (float value : y) {
    dropped += value == 0;
    if (value != 0) EXPECT_FLOAT_EQ(value, 4.0f);
  }
  EXPECT_NEAR(static_cast<double>(dropped), 10000, 346);
}

// The definition, block by block, against what the vectorised loop does.
TEST(Dropout, EveryElementFollowsItsWordOfTheStream) {
  const RandomStream stream(42, Purpose::kDropout, 7);
  const std::vector<float> x(517, 2.0f);
  std::vector<float> y(x.size());
  Dropout(stream, 3, 0.5, x.data(), y.data(), 517);
  for (uint32_t i = 0; i < 517; ++i) {
    const bool dropped = (stream.Block(i / 4, 3).word[i % 4] >> 8) < (1u << 23);
    ASSERT_EQ(y[i], dropped ? 0.0f : 4.0f) << i;
  }
}

TEST(Dropout, TheMaskDependsOnTheAddressAlone) {
  const std::vector<float> x(1000, 1.0f);
  std::vector<float> first(1000), second(1000), other(1000);
  const RandomStream stream(1, Purpose::kDropout, 3);
  Dropout(stream, 2, 0.5, x.data(), first.data(), 1000);
  Dropout(stream, 2, 0.5, x.data(), second.data(), 999);
  Dropout(stream, 3, 0.5, x.data(), other.data(), 1000);
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 999, second.begin()));
  EXPECT_NE(first, other);
}

}  // namespace
}  // namespace rivulet::kernels
