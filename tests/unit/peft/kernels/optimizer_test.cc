#include "peft/kernels/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

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

}  // namespace
}  // namespace rivulet::kernels
