#include "privacy/dp/rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "privacy/dp/clip.h"
#include "privacy/dp/noise_seed.h"
#include "tests/unit/privacy/dp/golden.h"

namespace rivulet {
namespace {

AesWords WordsOfSeed(uint8_t byte) {
  return NoiseSeed::FromStored(std::string(32, static_cast<char>(byte)))->Words("test");
}

ListedWords PairsOf(const std::vector<uint32_t>& halves) {
  std::vector<uint64_t> words;
  for (size_t at = 0; at < halves.size(); at += 2) {
    words.push_back(halves[at] | uint64_t{halves[at + 1]} << 32);
  }
  return ListedWords(words);
}

TEST(Rounding, TheWorkedExampleIsMet) {
  const nlohmann::json golden = Golden("encoding");
  const std::vector<double> rotated = golden["rotated"];
  const std::vector<int64_t> quantised = golden["quantised"];
  ListedWords words = PairsOf(golden["rounding_words_u32"]);
  std::vector<int64_t> out(rotated.size());
  ASSERT_TRUE(RoundStochastically(rotated, golden["scale"], words, out).ok());
  EXPECT_EQ(out, quantised);
  EXPECT_TRUE(words.empty());
  const double scaled = golden["scale"].get<double>() * golden["C"].get<double>();
  const double bound = RoundedNormBound(scaled, static_cast<int64_t>(rotated.size()));
  EXPECT_NEAR(bound * bound, golden["bound_B2"].get<double>(), 1e-9 * bound * bound);
  EXPECT_TRUE(CheckIntegerNorm(out, bound * bound).ok());
  EXPECT_TRUE(CheckIntegerNorm(out, golden["norm2"]).ok());
  EXPECT_FALSE(CheckIntegerNorm(out, golden["norm2"].get<double>() - 1).ok());
}

TEST(Rounding, TheBoundIsThatOfTheVectors) {
  for (const nlohmann::json& row : Golden("dp_distributed")["rounded_norm_bound"]) {
    const double want = row["B"];
    EXPECT_NEAR(RoundedNormBound(row["sC"], row["d"]), want, 1e-12 * want);
  }
}

// The mean of 4 10^5 roundings of 0.3 is off by 5 standard deviations with probability 6e-7.
TEST(Rounding, IsUnbiased) {
  const std::vector<float> values(400'000, -1.7f);
  std::vector<int64_t> out(values.size());
  AesWords words = WordsOfSeed(1);
  ASSERT_TRUE(RoundStochastically(values, 1, words, out).ok());
  double sum = 0;
  for (const int64_t value : out) {
    EXPECT_TRUE(value == -1 || value == -2);
    sum += static_cast<double>(value);
  }
  const double deviation = std::sqrt(0.3 * 0.7 / static_cast<double>(values.size()));
  EXPECT_NEAR(sum / static_cast<double>(values.size()), double{-1.7f}, 5 * deviation);
}

TEST(Rounding, IntegersStayAndRubbishIsRefused) {
  const std::vector<double> integers = {0, -3, 7, 1 << 20};
  std::vector<int64_t> out(4);
  AesWords words = WordsOfSeed(2);
  ASSERT_TRUE(RoundStochastically(integers, 1, words, out).ok());
  EXPECT_EQ(out, (std::vector<int64_t>{0, -3, 7, 1 << 20}));
  for (const double bad : {std::nan(""), HUGE_VAL, 0x1p52, -0x1p60}) {
    const std::vector<double> values = {bad};
    std::vector<int64_t> one(1);
    EXPECT_EQ(RoundStochastically(values, 1, words, one).code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(RoundStochastically(integers, 1, words, std::span(out).first(3)).ok());
}

TEST(Rounding, AnUpdateThatWasNotClippedFailsClosedAfter64Tries) {
  const std::vector<float> values(64, 10.5f);
  std::vector<int64_t> out(values.size());
  AesWords words = WordsOfSeed(3);
  const auto tries = RoundWithinNorm(values, 1, RoundedNormBound(8, 64), words, out);
  EXPECT_EQ(tries.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(words.consumed(), 64u * 32u);
}

// With beta = exp(-1/2) at least 1 - beta = 39 % of roundings pass; 64 failures are impossible to
// see.
TEST(Rounding, AClippedUpdateIsRoundedWithinItsBound) {
  std::vector<float> values(4096);
  for (size_t at = 0; at < values.size(); ++at) values[at] = at % 2 == 0 ? 0.5f : -0.5f;  // norm 32
  std::vector<int64_t> out(values.size());
  const double bound = RoundedNormBound(32, 4096);
  AesWords words = WordsOfSeed(4);
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(RoundWithinNorm(values, 1, bound, words, out).ok());
    EXPECT_TRUE(CheckIntegerNorm(out, bound * bound).ok());
  }
}

TEST(Rounding, TheScaleSolvesItsEquation) {
  const ScaleInput input{.accumulator_bits = 20,
                         .most_clients = 64,
                         .clip_norm = 2,
                         .local_sigma = 0.25,
                         .values = 1 << 20};
  const double s = *EncodingScale(input);
  const double n = 64, d = 1 << 20;
  // 2^b = 2 kappa sqrt( rho (C n)^2 / d + (1/(4 s^2) + sigma^2) n ) s
  EXPECT_NEAR(8 * std::sqrt(4 * n * n / d + (1 / (4 * s * s) + 0.0625) * n) * s, 0x1p20, 1e-3);
}

TEST(Rounding, AScaleThatDoesNotExistIsRefused) {
  const ScaleInput good{.accumulator_bits = 20,
                        .most_clients = 64,
                        .clip_norm = 1,
                        .local_sigma = 0.1,
                        .values = 100};
  ASSERT_TRUE(EncodingScale(good).ok());
  ScaleInput bad = good;
  bad.accumulator_bits = 5;  // 2^10 = 64 * 16
  EXPECT_FALSE(EncodingScale(bad).ok());
  bad = good;
  bad.clip_norm = std::nan("");
  EXPECT_FALSE(EncodingScale(bad).ok());
  bad = good;
  bad.values = 0;
  EXPECT_FALSE(EncodingScale(bad).ok());
  bad = good;
  bad.most_clients = 0;
  EXPECT_FALSE(EncodingScale(bad).ok());
  bad = good;
  bad.local_sigma = -1;
  EXPECT_FALSE(EncodingScale(bad).ok());
}

}  // namespace
}  // namespace rivulet
