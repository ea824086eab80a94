#include "privacy/dp/cohort.h"

#include <gtest/gtest.h>

#include <cmath>

#include "privacy/dp/noise_seed.h"

namespace rivulet {
namespace {

std::vector<std::string> NamesOf(int count) {
  std::vector<std::string> names;
  for (int name = 0; name < count; ++name) names.push_back("client-" + std::to_string(name));
  return names;
}

TEST(PoissonCohort, EachNameComesOnItsOwnWord) {
  const std::vector<std::string> names = NamesOf(4);
  const uint64_t half = uint64_t{1} << 63;
  ListedWords words({half - 1, half, 0, ~uint64_t{0}});
  EXPECT_EQ(*DrawPoissonCohort(0.5, names, words),
            (std::vector<std::string>{"client-0", "client-2"}));
}

// 5 standard deviations of mean and of variance: a fixed size would show in the second.
TEST(PoissonCohort, TheSizeIsBinomial) {
  const std::vector<std::string> names = NamesOf(1000);
  AesWords words = NoiseSeed::FromStored(std::string(32, 'c'))->Words("cohort");
  constexpr int kDraws = 2000;
  double sum = 0, square = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    const auto size = static_cast<double>(DrawPoissonCohort(0.1, names, words)->size());
    sum += size;
    square += (size - 100) * (size - 100);
  }
  EXPECT_NEAR(sum / kDraws, 100, 5 * std::sqrt(90.0 / kDraws));
  EXPECT_NEAR(square / kDraws, 90, 5 * 90 * std::sqrt(2.0 / kDraws));
}

TEST(PoissonCohort, EverybodyNobodyAndRubbish) {
  ListedWords none({});
  EXPECT_EQ(DrawPoissonCohort(1, NamesOf(3), none)->size(), 3u);
  EXPECT_TRUE(DrawPoissonCohort(0.5, {}, none)->empty());
  for (const double bad : {0.0, -0.1, 1.1, std::nan("")}) {
    EXPECT_FALSE(DrawPoissonCohort(bad, NamesOf(3), none).ok());
  }
  ListedWords high({~uint64_t{0}, ~uint64_t{0}});
  EXPECT_TRUE(DrawPoissonCohort(0.999, NamesOf(2), high)->empty());  // and it is still a round
}

}  // namespace
}  // namespace rivulet
