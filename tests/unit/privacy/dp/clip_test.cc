#include "privacy/dp/clip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/unit/privacy/dp/golden.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

absl::StatusOr<double> NormOfTwo(std::vector<float> a, std::vector<float> b) {
  const std::vector<std::span<const float>> view = {a, b};
  return NormOf(view);
}

TEST(Clip, TheNormIsOfAllTensorsTogether) {
  EXPECT_EQ(*NormOfTwo({3}, {4}), 5);  // by hand; clipped one by one to 4, both would pass
  const std::vector<float> a = {3}, b = {4};
  const std::vector<std::span<const float>> view = {a, b};
  EXPECT_FALSE(ClipOf(view, 4)->within);
  EXPECT_DOUBLE_EQ(ClipOf(view, 4)->factor, 4 * (1 - 1e-6) / 5);
}

TEST(Clip, TheWorkedExampleIsMet) {
  const nlohmann::json golden = Golden("encoding");
  const std::vector<double> input = golden["input"];
  const std::vector<std::span<const double>> view = {input};
  const double norm = *NormOf(std::span<const std::span<const double>>(view));
  EXPECT_NEAR(norm, golden["norm"].get<double>(), 1e-9);
  EXPECT_NEAR(*ClipFactorOf(norm, golden["C"]), golden["clip_factor"].get<double>(), 1e-9);
}

TEST(Clip, WhatIsNotFiniteIsNamedAndRefused) {
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    const auto norm = NormOfTwo({1, 2}, {0, bad, 1});
    EXPECT_EQ(norm.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(norm.status().message(), HasSubstr("tensor 1, value 1"));
  }
  EXPECT_FALSE(ClipFactorOf(std::nan(""), 1).ok());
  EXPECT_FALSE(ClipFactorOf(HUGE_VAL, 1).ok());
  for (const double bad : {0.0, -1.0, std::nan(""), HUGE_VAL})
    EXPECT_FALSE(ClipFactorOf(1, bad).ok());
}

TEST(Clip, AZeroUpdateIsFine) {
  EXPECT_EQ(*NormOfTwo({0, -0.0f}, {}), 0);
  EXPECT_EQ(*ClipFactorOf(0, 1e-3), 1);
}

TEST(Clip, DenormalAndHugeValuesKeepTheirNorm) {
  const float least = std::numeric_limits<float>::denorm_min();
  EXPECT_DOUBLE_EQ(*NormOfTwo({least}, {}), double{least});
  const float most = std::numeric_limits<float>::max();
  EXPECT_DOUBLE_EQ(*NormOfTwo({most, most}, {most, most}), 2 * double{most});
}

TEST(Clip, AClippedUpdateIsWithinTheBoundInFloat) {
  std::vector<float> values(100'003);
  uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525 + 1013904223;
    value = static_cast<float>(static_cast<int32_t>(state)) * 1e-6f;
  }
  const std::vector<std::span<const float>> view = {values};
  const auto factor = static_cast<float>(ClipOf(view, 1.5)->factor);
  for (float& value : values) value *= factor;
  const double norm = *NormOf(ClipView(view));
  EXPECT_LE(norm, 1.5);
  EXPECT_GT(norm, 1.5 * (1 - 2e-6));
}

TEST(Clip, TheIntegerNormIsExact) {
  const std::vector<int64_t> values = {3, -4, 12};  // 9 + 16 + 144
  EXPECT_TRUE(CheckIntegerNorm(values, 169).ok());
  EXPECT_TRUE(CheckIntegerNorm(values, 169.9).ok());  // floor
  EXPECT_EQ(CheckIntegerNorm(values, 168.99).code(), absl::StatusCode::kFailedPrecondition);
  const std::vector<int64_t> large(1000, (int64_t{1} << 42) + 1);
  const double bound = 1000.0 * 0x1p84;  // misses the 2^43 + 1 of each
  EXPECT_FALSE(CheckIntegerNorm(large, bound).ok());
  EXPECT_TRUE(CheckIntegerNorm(large, bound + 1000 * 0x1p44).ok());
}

TEST(Clip, HugeIntegersAndBadBoundsAreRefused) {
  const std::vector<int64_t> least = {std::numeric_limits<int64_t>::min()};
  EXPECT_FALSE(CheckIntegerNorm(least, 1e300).ok());
  for (const double bad : {-1.0, std::nan(""), HUGE_VAL}) {
    EXPECT_EQ(CheckIntegerNorm({}, bad).code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace rivulet
