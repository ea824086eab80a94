#include "privacy/dp/adaptive_clip.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/privacy/dp/golden.h"

namespace rivulet {
namespace {

TEST(AdaptiveClip, TheNoiseIsSplitAsInTheVectors) {
  for (const nlohmann::json& row : Golden("dp_adaptive_clipping")["z_delta"]) {
    AdaptiveClip clip{.expected = row["n"]};
    EXPECT_DOUBLE_EQ(clip.BitSigma(), row["sigma_b"].get<double>());
    const double want = row["z_delta"];
    EXPECT_NEAR(*clip.VectorNoiseMultiplier(row["z"]), want, 1e-12 * want);
  }
}

// 1/z^2 = 1/z_delta^2 + 1/(2 sigma_b)^2: the two Gaussians cost together what z costs.
TEST(AdaptiveClip, VectorAndBitTogetherCostZ) {
  const AdaptiveClip clip{.bit_sigma = 3, .expected = 50};
  for (const double z : {0.3, 1.0, 5.9}) {
    const double vector = *clip.VectorNoiseMultiplier(z);
    EXPECT_GT(vector, z);
    EXPECT_NEAR(1 / (vector * vector) + 1.0 / 36, 1 / (z * z), 1e-12);
  }
}

TEST(AdaptiveClip, ABitThatAloneCostsMoreIsRefused) {
  for (const nlohmann::json& row : Golden("dp_adaptive_clipping")["refused"]) {
    const AdaptiveClip clip{.bit_sigma = row["sigma_b"], .expected = 20};
    EXPECT_EQ(clip.VectorNoiseMultiplier(row["z"]).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(AdaptiveClip, TheNormFollowsTheVectors) {
  const nlohmann::json golden = Golden("dp_adaptive_clipping");
  double clip_norm = golden["updates"][0]["C_before"];
  for (const nlohmann::json& row : golden["updates"]) {
    const AdaptiveClip clip{.expected = row["n"]};
    const double n = row["n"], bits = row["bits_set"];
    const double mean = clip.MeanBit(bits - n / 2 + row["noise"].get<double>());
    EXPECT_NEAR(mean, row["b_bar"].get<double>(), 1e-12);
    clip_norm = clip.Next(clip_norm, mean);
    const double want = row["C_after"];
    EXPECT_NEAR(clip_norm, want, 1e-12 * want);
  }
}

// The path of C is a function of what was released and of nothing else.
TEST(AdaptiveClip, TheFewWhoCameDoNotChangeTheDenominator) {
  const AdaptiveClip clip{.expected = 100};
  EXPECT_DOUBLE_EQ(clip.MeanBit(25), 0.75);  // 50 came, all within: 50 * 1/2, still over 100
}

TEST(AdaptiveClip, TheNormStaysWithinItsBounds) {
  const AdaptiveClip clip{.expected = 10};
  EXPECT_EQ(clip.Next(1e-4, 1), 1e-4);
  EXPECT_EQ(clip.Next(1e3, -50), 1e3);
}

TEST(AdaptiveClip, TheRingFormIsThatOfTheFormula) {
  EXPECT_EQ(ClipBitCoordinate(true), 64);
  EXPECT_EQ(ClipBitCoordinate(false), -64);
  EXPECT_EQ(NoisedBitSum(80 * 64 - 20 * 64), 30);          // 80 of 100: 80 - 50
  EXPECT_EQ(*ClipBitVariance(5), 128u * 128u * 25u + 1u);  // never below what was asked for
  EXPECT_FALSE(ClipBitVariance(0).ok());
  EXPECT_FALSE(ClipBitVariance(std::nan("")).ok());
  EXPECT_FALSE(ClipBitVariance(1e9).ok());
}

TEST(AdaptiveClip, WrongSettingsAreRefused) {
  EXPECT_FALSE((AdaptiveClip{.expected = 0}.Validate().ok()));
  EXPECT_FALSE((AdaptiveClip{.target_quantile = 1.1, .expected = 9}.Validate().ok()));
  EXPECT_FALSE((AdaptiveClip{.learning_rate = 0, .expected = 9}.Validate().ok()));
  EXPECT_FALSE((AdaptiveClip{.bit_sigma = -1, .expected = 9}.Validate().ok()));
  EXPECT_FALSE((AdaptiveClip{.expected = 9, .least = 2, .most = 1}.Validate().ok()));
  EXPECT_TRUE((AdaptiveClip{.expected = 9}.Validate().ok()));
}

}  // namespace
}  // namespace rivulet
