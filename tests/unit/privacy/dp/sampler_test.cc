#include "privacy/dp/sampler.h"

#include <gtest/gtest.h>

#include <cmath>

#include "privacy/dp/noise_seed.h"
#include "tests/unit/privacy/dp/chi_square.h"
#include "tests/unit/privacy/dp/golden.h"

namespace rivulet {
namespace {

constexpr double kOneInTenThousand = 3.72;  // of a standard normal deviate, from above

AesWords StreamOfKey(const std::string& hex) {
  std::array<uint8_t, 32> key;
  for (size_t at = 0; at < key.size(); ++at) {
    key[at] = static_cast<uint8_t>(std::stoi(hex.substr(2 * at, 2), nullptr, 16));
  }
  return AesWords{AesWords::Key(key)};
}

AesWords StreamOf(char byte) {
  return NoiseSeed::FromStored(std::string(32, byte))->Words("sampler test");
}

TEST(DiscreteGaussian, MeetsTheVectorsWordForWord) {
  const nlohmann::json golden = Golden("dp_sampler");
  ASSERT_EQ(golden["sequences"].size(), 6u);
  for (const nlohmann::json& row : golden["sequences"]) {
    AesWords words = StreamOfKey(row["key"]);
    const auto gaussian = DiscreteGaussian::Make(row["sigma2_num"], row["sigma2_den"]);
    ASSERT_TRUE(gaussian.ok());
    std::vector<int64_t> samples(row["samples"].size());
    gaussian->Fill(words, samples);
    EXPECT_EQ(samples, row["samples"].get<std::vector<int64_t>>()) << row["key_text"];
    EXPECT_EQ(words.consumed(), row["words_consumed"].get<uint64_t>()) << row["key_text"];
  }
}

TEST(DiscreteGaussian, TheReferenceProbabilitiesOfTheseTestsAreThoseOfTheVectors) {
  for (const nlohmann::json& row : Golden("dp_sampler")["exact"]) {
    const double variance = row["sigma2"][0].get<double>() / row["sigma2"][1].get<double>();
    const std::vector<double> cells = DiscreteGaussianCells(variance, 400);
    for (size_t x = 0; x < 6; ++x) {
      const double want = row["pmf_0_to_5"][x];
      EXPECT_NEAR(cells[400 + x], want, 1e-12 * want);
    }
  }
}

struct Law {
  uint64_t p, q;
};
class DiscreteGaussianLaw : public testing::TestWithParam<Law> {};

// 10^6 draws; false alarm 1e-4 for the law, 6e-5 for sign and lag.
TEST_P(DiscreteGaussianLaw, HoldsOverAMillionDraws) {
  const auto [p, q] = GetParam();
  const double variance = static_cast<double>(p) / static_cast<double>(q);
  const auto reach = static_cast<int64_t>(6 * std::sqrt(variance)) + 2;
  const auto gaussian = DiscreteGaussian::Make(p, q);
  ASSERT_TRUE(gaussian.ok());
  AesWords words = StreamOf('g');
  ChiSquare chi(DiscreteGaussianCells(variance, reach));
  constexpr int kDraws = 1'000'000;
  double signs = 0, lagged = 0, squares = 0, last = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    const int64_t x = gaussian->Draw(words);
    chi.Count(static_cast<size_t>(std::clamp(x, -reach, reach) + reach));
    signs += (x > 0) - (x < 0);
    lagged += static_cast<double>(x) * last;
    last = static_cast<double>(x);
    squares += last * last;
  }
  EXPECT_LT(chi.Deviate(), kOneInTenThousand);
  EXPECT_LT(std::abs(signs) / std::sqrt(kDraws), 4);  // each sign has variance below 1
  EXPECT_LT(std::abs(lagged / squares) * std::sqrt(kDraws), 4);
}
INSTANTIATE_TEST_SUITE_P(Variances, DiscreteGaussianLaw,
                         testing::Values(Law{1, 4}, Law{1, 1}, Law{4, 1}, Law{100, 1}, Law{7, 3}),
                         [](const auto& law) {
                           return std::to_string(law.param.p) + "over" +
                                  std::to_string(law.param.q);
                         });

// Too wide to count values: equal slices of the normal law instead. At this variance the two laws
// differ by less than 1e-9 per slice. False alarm 1e-4.
TEST(DiscreteGaussian, AWideOneIsNormal) {
  const uint64_t variance = uint64_t{1} << 48;
  const auto gaussian = DiscreteGaussian::Make(variance);
  AesWords words = StreamOf('w');
  constexpr size_t kSlices = 200;
  ChiSquare chi(std::vector<double>(kSlices, 1.0 / kSlices));
  for (int draw = 0; draw < 300'000; ++draw) {
    const double z = static_cast<double>(gaussian->Draw(words)) / 0x1p24;
    const double slice = 0.5 * std::erfc(-z * M_SQRT1_2) * kSlices;
    chi.Count(std::min(kSlices - 1, static_cast<size_t>(slice)));
  }
  EXPECT_LT(chi.Deviate(), kOneInTenThousand);
}

TEST(DiscreteGaussian, TheWidestIsDrawnAndWiderIsRefused) {
  const auto widest = DiscreteGaussian::Make(kMostVariance);
  ASSERT_TRUE(widest.ok());
  AesWords words = StreamOf('m');
  double squares = 0;
  for (int draw = 0; draw < 10'000; ++draw) {
    squares += std::pow(static_cast<double>(widest->Draw(words)) * 0x1p-28, 2);
  }
  EXPECT_NEAR(squares / 10'000, 2, 0.15);  // five standard deviations
  EXPECT_EQ(DiscreteGaussian::Make(kMostVariance + 1).status().code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(DiscreteGaussian::Make(3, uint64_t{1} << 62).status().code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(DiscreteGaussian::Make(1, uint64_t{1} << 58).status().code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_FALSE(DiscreteGaussian::Make(0).ok());
  EXPECT_FALSE(DiscreteGaussian::Make(1, 0).ok());
}

TEST(Uniform, OneIsReadFromNothingAndSmallRangesFromOneWord) {
  ListedWords words({5, ~uint64_t{0}, 7});
  EXPECT_EQ(UniformBelow(words, 1), 0u);
  EXPECT_EQ(UniformBelow(words, 3), 2u);
  // 2^64 mod 3 = 1, so the last word has no whole block of three and is drawn again.
  EXPECT_EQ(UniformBelow(words, 3), 1u);
  EXPECT_TRUE(words.empty());
}

TEST(Uniform, WideRangesTakeTheLowWordFirst) {
  ListedWords words({3, 1});
  const Unsigned128 m = Unsigned128{1} << 100;
  EXPECT_TRUE(UniformBelow(words, m) == (Unsigned128{1} << 64 | 3));
}

// 10^6 draws each, within 4 standard deviations: false alarm 6e-5.
TEST(Bernoulli, OfAnExponentialHasItsProbability) {
  for (const auto& [a, b] : {std::pair(1, 3), {1, 1}, {7, 2}, {0, 5}}) {
    AesWords words = StreamOf('b');
    const double p = std::exp(-static_cast<double>(a) / b);
    double hits = 0;
    for (int draw = 0; draw < 1'000'000; ++draw) hits += BernoulliExp(words, a, b);
    EXPECT_NEAR(hits / 1e6, p, 4 * std::sqrt(p * (1 - p) / 1e6) + 1e-12);
  }
}

// A denominator beyond 64 bits gives the same law: exp(-1/3) again.
TEST(Bernoulli, OfAnExponentialDoesNotSeeTheSizeOfItsTerms) {
  AesWords words = StreamOf('c');
  const Unsigned128 a = Unsigned128{1} << 90;
  double hits = 0;
  for (int draw = 0; draw < 300'000; ++draw) hits += BernoulliExp(words, a, 3 * a);
  const double p = std::exp(-1.0 / 3);
  EXPECT_NEAR(hits / 3e5, p, 4 * std::sqrt(p * (1 - p) / 3e5));
}

TEST(DiscreteLaplace, HasItsLaw) {
  constexpr int64_t kScale = 3, kReach = 40;
  std::vector<double> cells;
  const double norm = std::tanh(0.5 / kScale);  // (e^(1/t) - 1)/(e^(1/t) + 1)
  for (int64_t x = -kReach; x <= kReach; ++x) {
    cells.push_back(norm * std::exp(-static_cast<double>(std::abs(x)) / kScale));
  }
  AesWords words = StreamOf('l');
  ChiSquare chi(cells);  // what lies beyond has probability 1e-6 and is counted at the ends
  for (int draw = 0; draw < 500'000; ++draw) {
    const int64_t x = std::clamp(DiscreteLaplace(words, kScale), -kReach, kReach);
    chi.Count(static_cast<size_t>(x + kReach));
  }
  EXPECT_LT(chi.Deviate(), kOneInTenThousand);
}

}  // namespace
}  // namespace rivulet
