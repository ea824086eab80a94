// The grid of clipped gradients, Poisson sampling and the limits of the settings.
#include "peft/trainer/example_privacy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/unit/peft/trainer/told_noise.h"

namespace rivulet {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

ExamplePrivacy ClipAndNoise(double clip_norm, double noise_multiplier) {
  ExamplePrivacy privacy;
  privacy.clip_norm = clip_norm;
  privacy.noise_multiplier = noise_multiplier;
  return privacy;
}

double LengthOf(std::span<const int64_t> sums) {
  long double squares = 0;
  for (int64_t sum : sums) squares += static_cast<long double>(sum) * static_cast<long double>(sum);
  return static_cast<double>(std::sqrt(squares));
}

TEST(GradientGrid, IsAPowerOfTwoWithinTheLimitsOfSumAndSampler) {
  for (double clip : {1e-6, 0.1, 1.0, 4.0, 1e6}) {
    for (double multiplier : {0.0, 1e-4, 0.3, 0.5, 1.0, 2.0, 9.7, 1e4}) {
      const ExamplePrivacy privacy = ClipAndNoise(clip, multiplier);
      EXPECT_TRUE(CheckExamplePrivacy(privacy).ok());
      const GradientGrid grid = GridOf(privacy);
      int exponent;
      EXPECT_EQ(std::frexp(grid.step, &exponent), 0.5);
      EXPECT_EQ(grid.bound * grid.step, clip);
      EXPECT_LE(grid.bound, 0x1p31);
      EXPECT_LE(grid.variance, uint64_t{1} << 42);
      const double deviation = multiplier * grid.bound;
      if (multiplier > 0) {
        EXPECT_GT(static_cast<double>(grid.variance), deviation * deviation);
        EXPECT_LE(static_cast<double>(grid.variance), deviation * deviation + 1);
      } else {
        EXPECT_EQ(grid.variance, 0u);
      }
      // The finest such: half the step breaks one of both.
      EXPECT_TRUE(2 * grid.bound >= 0x1p31 || 2 * deviation >= 0x1p21);
    }
  }
}

TEST(ClippedSum, OneGradientIsNeverLongerThanTheClipNorm) {
  RandomCursor cursor(RandomStream(3, Purpose::kPartition, 0));
  for (double multiplier : {0.0, 1.0, 1000.0}) {
    for (float scale : {1e-30f, 1e-3f, 0.5f, 1.0f, 7.0f, 1e6f, 1e30f}) {
      ClippedSum sum(ClipAndNoise(1.5, multiplier), 300);
      std::vector<float> gradient(300);
      for (float& value : gradient) value = scale * static_cast<float>(cursor.Unit() - 0.5);
      ASSERT_TRUE(sum.Add(gradient).ok());
      const double length = LengthOf(sum.sums());
      EXPECT_LE(length, sum.grid().bound);
      // Long ones keep their length but for the slack and one step a number.
      const double least = sum.grid().bound * (1 - 2e-6) - std::sqrt(300.0);
      EXPECT_TRUE(scale < 1 || length >= least) << length;
    }
  }
}

TEST(ClippedSum, ShortGradientsKeepTheirValue) {
  ClippedSum sum(ClipAndNoise(4, 0), 3);
  const std::vector<float> first = {1.0f, -0.5f, 0.25f}, second = {0.5f, -0.5f, -1.0f};
  ASSERT_TRUE(sum.Add(first).ok());
  ASSERT_TRUE(sum.Add(second).ok());
  std::vector<float> average(3);
  sum.Average(2, average);
  EXPECT_EQ(average, (std::vector<float>{0.75f, -0.5f, -0.375f}));
  sum.Clear();
  sum.Average(2, average);
  EXPECT_EQ(average, (std::vector<float>{0, 0, 0}));
}

TEST(ClippedSum, NumbersAreCutTowardsZero) {
  const ExamplePrivacy privacy = ClipAndNoise(1, 1);
  ClippedSum sum(privacy, 2);
  const float half = static_cast<float>(sum.grid().step / 2);
  ASSERT_TRUE(sum.Add(std::vector<float>{3 * half, -3 * half}).ok());
  EXPECT_EQ(sum.sums()[0], 1);
  EXPECT_EQ(sum.sums()[1], -1);
}

TEST(ClippedSum, ZeroAndDenormalsAddNothing) {
  ClippedSum sum(ClipAndNoise(1, 1), 2);
  const float denormal = std::numeric_limits<float>::denorm_min();
  for (const auto& gradient : {std::vector<float>{0, 0}, std::vector<float>{denormal, -0.0f}}) {
    ASSERT_TRUE(sum.Add(gradient).ok());
    EXPECT_EQ(sum.sums()[0], 0);
    EXPECT_EQ(sum.sums()[1], 0);
  }
}

TEST(ClippedSum, NumbersThatAreNotFiniteAreRefused) {
  for (float bad : {kNan, kInfinity, -kInfinity}) {
    ClippedSum sum(ClipAndNoise(1, 1), 3);
    EXPECT_EQ(sum.Add(std::vector<float>{1, bad, 1}).code(), absl::StatusCode::kInternal);
    EXPECT_EQ(LengthOf(sum.sums()), 0);
  }
}

TEST(ClippedSum, NoiseIsAskedForOnTheIntegersAndOnlyWhereThereIsSome) {
  ClippedSum noised(ClipAndNoise(2, 0.5), 4), plain(ClipAndNoise(2, 0), 4);
  testing::ToldNoise noise;
  noise.shift = 7;
  ASSERT_TRUE(noised.AddNoise(noise).ok());
  ASSERT_TRUE(plain.AddNoise(noise).ok());
  EXPECT_EQ(noise.variances, std::vector<uint64_t>{noised.grid().variance});
  EXPECT_EQ(noised.sums()[3], 7);
  EXPECT_EQ(plain.sums()[3], 0);
}

TEST(PoissonSample, TakesEachExampleByItself) {
  constexpr uint32_t kExamples = 10000;
  testing::ToldNoise noise;
  std::vector<int> taken(kExamples);
  double squares = 0;
  constexpr int kSteps = 200;
  for (int step = 0; step < kSteps; ++step) {
    const auto sample = PoissonSample(0.05, kExamples, noise);
    ASSERT_TRUE(sample.ok());
    EXPECT_TRUE(std::is_sorted(sample->begin(), sample->end()));
    for (uint32_t position : *sample) ++taken[position];
    const double size = static_cast<double>(sample->size());
    squares += (size - 500) * (size - 500);
  }
  // Sizes vary as Binomial(10^4, 0.05) does: variance 475. The estimate from 200 has a relative
  // deviation of 0.1, so 0.5 fails by chance with probability below 1e-5; the seed is fixed.
  EXPECT_NEAR(squares / kSteps, 475, 0.5 * 475);
  // Binomial(200, 0.05) exceeds 40 with probability below 2e-13.
  EXPECT_LE(*std::max_element(taken.begin(), taken.end()), 40);
}

TEST(PoissonSample, AtTheEndsOfItsRange) {
  testing::ToldNoise noise;
  EXPECT_EQ(*PoissonSample(1, 3, noise), (std::vector<uint32_t>{0, 1, 2}));
  EXPECT_TRUE(PoissonSample(0x1p-64, 5000, noise)->empty());
  EXPECT_TRUE(PoissonSample(0.5, 0, noise)->empty());
  noise.fails = true;
  EXPECT_EQ(PoissonSample(0.5, 3, noise).status().code(), absl::StatusCode::kUnavailable);
}

struct BadPrivacy {
  const char* what;
  void (*change)(ExamplePrivacy& privacy);
};

TEST(ExamplePrivacy, WhatIsOutOfRangeIsRefusedByName) {
  const BadPrivacy kBad[] = {
      {"clip norm", [](ExamplePrivacy& p) { p.clip_norm = 0; }},
      {"clip norm", [](ExamplePrivacy& p) { p.clip_norm = kInfinity; }},
      {"clip norm", [](ExamplePrivacy& p) { p.clip_norm = kNan; }},
      {"noise multiplier", [](ExamplePrivacy& p) { p.noise_multiplier = -1; }},
      {"noise multiplier", [](ExamplePrivacy& p) { p.noise_multiplier = kNan; }},
      {"sample rate", [](ExamplePrivacy& p) { p.sample_rate = 0; }},
      {"sample rate", [](ExamplePrivacy& p) { p.sample_rate = 1.5; }},
      {"steps", [](ExamplePrivacy& p) { p.steps = 0; }},
      {"batch size", [](ExamplePrivacy& p) { p.batch_size = -1; }},
      {"batch size", [](ExamplePrivacy& p) { p.batch_size = kInfinity; }},
  };
  EXPECT_TRUE(CheckExamplePrivacy({}).ok());
  for (const BadPrivacy& bad : kBad) {
    ExamplePrivacy privacy;
    bad.change(privacy);
    const absl::Status status = CheckExamplePrivacy(privacy);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.what;
    EXPECT_NE(status.message().find(bad.what), std::string_view::npos) << status;
  }
}

}  // namespace
}  // namespace rivulet
