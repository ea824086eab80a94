#include "privacy/dp/calibration.h"

#include <gtest/gtest.h>

#include <cmath>

namespace rivulet {
namespace {

// Vector 19: sigma = .67379294682 costs epsilon 1 at q = .01, one step.
TEST(Calibration, FindsTheNoiseOfTheVector) {
  const auto found = CalibrateNoise({.epsilon = 1, .delta = 1e-5, .q = 0.01, .steps = 1});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_NEAR(found->sigma, 0.67379294682, 2e-4 * found->sigma);
  EXPECT_LE(found->verified.pld, 1);
  EXPECT_GT(found->verified.pld, 0.999);
}

TEST(Calibration, WithoutSamplingItIsTheExactGaussian) {
  const auto found = CalibrateNoise({.epsilon = 8.5958657905, .delta = 1e-5, .steps = 50});  // z4
  ASSERT_TRUE(found.ok());
  EXPECT_NEAR(found->sigma, 4, 2e-4 * 4);
  EXPECT_LE(found->verified.pld, 8.5958657905);
}

TEST(Calibration, TheEndsAreSaid) {
  EXPECT_EQ(CalibrateNoise({.epsilon = 1e-6, .delta = 1e-9, .steps = 1'000'000}).status().code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(CalibrateNoise({.epsilon = 1e6, .delta = 1e-5})->sigma, kLeastCalibratedSigma);
  EXPECT_FALSE(CalibrateNoise({.epsilon = 0, .delta = 1e-5}).ok());
  EXPECT_FALSE(CalibrateNoise({.epsilon = 1, .delta = 2}).ok());
  EXPECT_FALSE(CalibrateNoise({.epsilon = std::nan(""), .delta = 1e-5}).ok());
}

}  // namespace
}  // namespace rivulet
