#include "privacy/dp/banded.h"

#include <gtest/gtest.h>

#include <cmath>

#include "privacy/dp/mechanism.h"
#include "tests/unit/privacy/dp/golden.h"

namespace rivulet {
namespace {

NoiseSeed BandedSeed(int64_t round) {
  std::string bytes(32, 'b');
  bytes[0] = static_cast<char>(round);
  return *NoiseSeed::FromStored(bytes);
}

// w of `rounds` rounds, one after the other.
std::vector<std::vector<int64_t>> WavesOf(const BandedNoise& noise, int64_t rounds, size_t size) {
  std::vector<std::vector<int64_t>> waves;
  for (int64_t round = 0; round < rounds; ++round) {
    std::vector<std::span<const int64_t>> before;
    for (size_t back = 1; back < static_cast<size_t>(noise.bands) && back <= waves.size(); ++back) {
      before.push_back(waves[waves.size() - back]);
    }
    std::vector<int64_t> wave(size);
    const absl::Status made = MakeBandedNoise(noise, BandedSeed(round), 0, before, wave);
    EXPECT_TRUE(made.ok()) << made;
    waves.push_back(std::move(wave));
  }
  return waves;
}

TEST(Banded, CoefficientsNormsAndResponsesAreThoseOfTheVectors) {
  const nlohmann::json golden = Golden("dp_matrix_mechanism");
  EXPECT_EQ(SquareRootCoefficients(16), golden["sqrt_toeplitz_c"].get<std::vector<double>>());
  for (const auto& [bands, want] : golden["column_norm_squared"].items()) {
    EXPECT_NEAR(ColumnNormSquared(SquareRootCoefficients(std::stoi(bands))), want.get<double>(),
                1e-12);
  }
  for (const auto& [bands, want] : golden["impulse_response"].items()) {
    std::vector<double> impulse(want.size(), 0.0);
    impulse[0] = 1;
    EXPECT_EQ(BandedResponse(SquareRootCoefficients(std::stoi(bands)), impulse),
              want.get<std::vector<double>>());
  }
  const nlohmann::json& example = golden["response_example"];
  EXPECT_EQ(BandedResponse(SquareRootCoefficients(example["bhat"]),
                           example["z"].get<std::vector<double>>()),
            example["w"].get<std::vector<double>>());
}

// The integer recursion is the real one but for roundings of half a step each.
TEST(Banded, TheIntegerNoiseFollowsTheRecursion) {
  const BandedNoise noise{.noise_multiplier = 1, .clip_norm = 0.01, .values = 50, .bands = 4};
  const BandedNoise plain{.noise_multiplier = 1, .clip_norm = 0.01, .values = 50, .bands = 1};
  const auto waves = WavesOf(noise, 12, 50);
  const std::vector<double> c = SquareRootCoefficients(4);
  for (size_t at = 0; at < 50; ++at) {
    std::vector<double> z;
    for (size_t t = 0; t < waves.size(); ++t) {
      double sum = static_cast<double>(waves[t][at]);
      for (size_t j = 1; j < 4 && j <= t; ++j) sum += c[j] * static_cast<double>(waves[t - j][at]);
      z.push_back(sum);
    }
    const std::vector<double> w = BandedResponse(c, z);
    for (size_t t = 0; t < w.size(); ++t) {
      EXPECT_NEAR(w[t], static_cast<double>(waves[t][at]), 1e-6);
      std::vector<int64_t> drawn(50, 0);
      ASSERT_TRUE(AddBlockNoise(BandedSeed(static_cast<int64_t>(t)), "banded", *noise.Variance(), 1,
                                0, drawn)
                      .ok());
      EXPECT_NEAR(z[t], static_cast<double>(drawn[at]), 0.5 + 1e-6);
    }
  }
  EXPECT_LT(*plain.Variance(), *noise.Variance());
}

TEST(Banded, TheSameSeedsGiveTheSameNoise) {
  const BandedNoise noise{.noise_multiplier = 2, .clip_norm = 0.5, .values = 200, .bands = 8};
  EXPECT_EQ(WavesOf(noise, 20, 200), WavesOf(noise, 20, 200));
}

// With the noise of later rounds taking back that of earlier ones, a prefix sum carries less.
TEST(Banded, APrefixSumCarriesLessNoiseThanIndependentRounds) {
  const BandedNoise noise{.noise_multiplier = 1, .clip_norm = 1, .values = 3000, .bands = 16};
  const auto waves = WavesOf(noise, 16, 3000);
  double banded = 0;
  for (size_t at = 0; at < 3000; ++at) {
    double sum = 0;
    for (const auto& wave : waves) sum += static_cast<double>(wave[at]);
    banded += sum * sum / 3000;
  }
  // c sums to sum_j c_j z_{t-j}: variance ||c||^2 of z, within five standard deviations (13 %).
  const double want =
      ColumnNormSquared(SquareRootCoefficients(16)) * static_cast<double>(*noise.Variance());
  EXPECT_NEAR(banded / want, 1, 0.13);
  EXPECT_LT(banded, 16 * static_cast<double>(*noise.Variance()) / 4);
}

TEST(Banded, TheSensitivityIsThatOfTheWholeRun) {
  const BandedNoise noise{
      .noise_multiplier = 1, .clip_norm = 1, .values = 100, .bands = 4, .participations = 9};
  // sqrt(9) (sqrt(1.48828125) (2^24 + 5) + sqrt(300)), by hand; 3e-10 for the fixed-point c.
  const double want = 3 * (std::sqrt(1.48828125) * (0x1p24 + 5) + std::sqrt(300.0));
  EXPECT_NEAR(noise.Sensitivity(), want, 1e-9 * want);
  EXPECT_GE(noise.Sensitivity(), want);
}

TEST(Banded, TheGapIsKept) {
  const BandedNoise noise{.bands = 8, .participations = 3};
  EXPECT_TRUE(MayTakePart(noise, 0, 0, 1));
  EXPECT_FALSE(MayTakePart(noise, 1, 1, 8));
  EXPECT_TRUE(MayTakePart(noise, 1, 1, 9));
  EXPECT_FALSE(MayTakePart(noise, 20, 3, 100));
}

TEST(Banded, RoundsThatDoNotFitAreRefused) {
  const BandedNoise noise{.noise_multiplier = 1, .clip_norm = 1, .values = 10, .bands = 2};
  const std::vector<int64_t> wave(10, 0), high(10, int64_t{1} << 62);
  std::vector<int64_t> out(10);
  std::vector<std::span<const int64_t>> before = {wave, wave};
  EXPECT_FALSE(MakeBandedNoise(noise, BandedSeed(0), 0, before, out).ok());
  before = {std::span(wave).first(9)};
  EXPECT_FALSE(MakeBandedNoise(noise, BandedSeed(0), 0, before, out).ok());
  const BandedNoise wide{.noise_multiplier = 1, .clip_norm = 1, .values = 10, .bands = 4};
  before = {high, high, high};
  EXPECT_EQ(MakeBandedNoise(wide, BandedSeed(0), 0, before, out).code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_FALSE(MakeBandedNoise({.bands = 0}, BandedSeed(0), 0, {}, out).ok());
}

}  // namespace
}  // namespace rivulet
