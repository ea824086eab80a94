#include "simulations/partition/dirichlet.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace rivulet {
namespace {

RandomCursor Cursor(uint64_t seed) {
  return RandomCursor(RandomStream(seed, Purpose::kPartition, 0));
}

// Component k of Dir(a) has mean a_k/A and variance m(1-m)/(A+1), A = sum a. The mean of 20,000
// draws is within 5 standard errors with probability 1 - 6e-7 for each of three components, and so
// is the sample variance within 10 % (its own standard error is below 1.5 % here). The seed is
// fixed: this holds for ever or never.
TEST(DrawDirichlet, HasTheMomentsOfTheDistribution) {
  const std::vector<double> concentration = {0.3, 1.0, 2.5};
  constexpr int kDraws = 20'000;
  const double total = 3.8;
  RandomCursor cursor = Cursor(11);
  std::vector<double> sum(3), squares(3);
  for (int draw = 0; draw < kDraws; ++draw) {
    const auto shares = DrawDirichlet(concentration, cursor);
    EXPECT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0), 1.0, 1e-12);
    for (int k = 0; k < 3; ++k) {
      sum[k] += shares[k];
      squares[k] += shares[k] * shares[k];
    }
  }
  for (int k = 0; k < 3; ++k) {
    const double mean = concentration[k] / total;
    const double variance = mean * (1 - mean) / (total + 1);
    EXPECT_NEAR(sum[k] / kDraws, mean, 5 * std::sqrt(variance / kDraws));
    const double seen = squares[k] / kDraws - sum[k] / kDraws * (sum[k] / kDraws);
    EXPECT_NEAR(seen, variance, 0.1 * variance);
  }
}

TEST(DrawDirichlet, TinyConcentrationsGiveOneClassAndNoNan) {
  RandomCursor cursor = Cursor(5);
  for (int draw = 0; draw < 200; ++draw) {
    const auto shares = DrawDirichlet(std::vector<double>(4, 1e-9), cursor);
    EXPECT_NEAR(*std::max_element(shares.begin(), shares.end()), 1.0, 1e-9);
  }
}

std::vector<uint32_t> TwoClasses(uint32_t each) {
  std::vector<uint32_t> class_of(2 * each, 0);
  std::fill(class_of.begin() + each, class_of.end(), 1u);
  return class_of;
}

// Mean over clients of the larger class's share.
double MeanMajority(double alpha, uint64_t seed) {
  const auto class_of = TwoClasses(5000);
  RandomCursor cursor = Cursor(seed);
  double sum = 0;
  for (const auto& part : SplitByDirichlet(class_of, 2, 50, alpha, cursor)) {
    const auto ones =
        std::count_if(part.begin(), part.end(), [&](uint32_t item) { return class_of[item] == 1; });
    const double share = static_cast<double>(ones) / static_cast<double>(part.size());
    sum += std::max(share, 1 - share);
  }
  return sum / 50;
}

// Two equal classes: shares are Beta(alpha/2, alpha/2). alpha = 1000: standard deviation 0.016, and
// 200 draws add 0.035, so a majority of 0.53 on average; above 0.6 would be 100 standard errors
// off. alpha = 0.01: both components 0.005, a client is one class with probability > 0.98; but a
// client gets the other class once its own has run out, so 0.9 is asked for.
TEST(SplitByDirichlet, SmallAlphaSeparatesClassesAndLargeAlphaMixesThem) {
  EXPECT_LT(MeanMajority(1000, 1), 0.6);
  EXPECT_GT(MeanMajority(0.01, 1), 0.9);
}

// The tail is what is held out. Without a shuffle it holds only classes that others left over. A
// tail of 100 from a client of 1000 strays from its share by 4 standard errors with p < 1e-4 a
// client; the seed is fixed.
TEST(SplitByDirichlet, TheEndOfAPartHasTheClassesOfTheWhole) {
  std::vector<uint32_t> class_of(10'000);
  for (size_t item = 0; item < class_of.size(); ++item) class_of[item] = item < 4'500 ? 0 : 1;
  RandomCursor cursor(RandomStream(42, Purpose::kPartition, 0));
  for (const std::vector<uint32_t>& part : SplitByDirichlet(class_of, 2, 10, 0.5, cursor)) {
    const auto share = [&](size_t first) {
      double ones = 0;
      for (size_t at = first; at < part.size(); ++at) ones += class_of[part[at]];
      return ones / static_cast<double>(part.size() - first);
    };
    const double whole = share(0);
    EXPECT_NEAR(share(part.size() - 100), whole, 4 * std::sqrt(whole * (1 - whole) / 100) + 1e-9);
  }
}

TEST(SplitByDirichlet, EveryItemGoesToOneClientAndSizesDifferByOne) {
  for (const double alpha : {1e-6, 0.1, 1.0, 1e6}) {
    const auto class_of = TwoClasses(157);
    RandomCursor cursor = Cursor(3);
    std::vector<int> seen(class_of.size());
    for (const auto& part : SplitByDirichlet(class_of, 2, 10, alpha, cursor)) {
      EXPECT_TRUE(part.size() == 31 || part.size() == 32) << part.size();
      for (uint32_t item : part) ++seen[item];
    }
    EXPECT_THAT(seen, testing::Each(1)) << "alpha " << alpha;
  }
}

}  // namespace
}  // namespace rivulet
