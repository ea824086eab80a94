#include "privacy/dp/tree.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "privacy/dp/mechanism.h"
#include "tests/unit/privacy/dp/golden.h"

namespace rivulet {
namespace {

TEST(TreeSensitivity, MeetsTheVectors) {
  for (const nlohmann::json& row : Golden("dp_matrix_mechanism")["tree"]["cases"]) {
    const int64_t steps = row["steps"];
    const bool every = row.contains("every_step");
    const int64_t most = every ? steps : row["max_participation"].get<int64_t>();
    const int64_t gap = every ? 0 : row["min_separation"].get<int64_t>();
    EXPECT_EQ(*TreeSensitivitySquared(steps, most, gap), row["value"].get<double>()) << row.dump();
  }
}

// Every pattern one by one, straight from the definition.
double ByExhaustion(int64_t steps, int64_t most, int64_t gap) {
  double best = 0;
  for (uint32_t pattern = 0; pattern < uint32_t{1} << steps; ++pattern) {
    if (std::popcount(pattern) > most) continue;
    int64_t last = -100;
    bool allowed = true;
    for (int64_t step = 0; step < steps; ++step) {
      if ((pattern >> step & 1) == 0) continue;
      allowed &= step - last - 1 >= gap;
      last = step;
    }
    if (!allowed) continue;
    double sum = 0;
    for (int64_t width = 1; width <= steps; width *= 2) {
      for (int64_t first = 0; first + width <= steps; first += width) {
        const auto inside = static_cast<uint32_t>((uint64_t{1} << width) - 1) << first;
        sum += std::pow(std::popcount(pattern & inside), 2);
      }
    }
    best = std::max(best, sum);
  }
  return best;
}

TEST(TreeSensitivity, IsTheMaximumOverAllPatterns) {
  for (int64_t steps = 1; steps <= 13; ++steps) {
    for (const int64_t most : {1, 2, 3, 5, 13}) {
      for (const int64_t gap : {0, 1, 2, 3, 6, 20}) {
        const double exact = ByExhaustion(steps, most, gap);
        EXPECT_EQ(*TreeSensitivitySquared(steps, most, gap), exact)
            << steps << " steps, " << most << " times, gap " << gap;
        EXPECT_GE(TreeSensitivityBound(steps, most, gap), exact);
      }
    }
  }
}

TEST(TreeSensitivity, ALongRunIsStillExactOrBounded) {
  EXPECT_EQ(*TreeSensitivitySquared(1600, 1, 0), 11);  // ceil(log2(1601))
  EXPECT_EQ(*TreeSensitivitySquared(1'000'000'000, 1, 0), 30);
  const double bound = TreeSensitivityBound(1000, 31, 31);
  const double exact = *TreeSensitivitySquared(1000, 31, 31);
  EXPECT_GT(exact, 0.8 * bound);
  EXPECT_LE(exact, bound);
  EXPECT_EQ(*TreeSensitivitySquared(1'000'000, 500'000, 0),
            TreeSensitivityBound(1'000'000, 500'000, 0));
  EXPECT_FALSE(TreeSensitivitySquared(0, 1, 0).ok());
  EXPECT_FALSE(TreeSensitivitySquared(1, 0, 0).ok());
  EXPECT_FALSE(TreeSensitivitySquared(1, 1, -1).ok());
}

TEST(TreeNoise, RoundsAddUpToThePrefixAndThePrefixHasFewNodes) {
  const NoiseSeed seed = *NoiseSeed::FromStored(std::string(32, 't'));
  const TreeNoise tree = *TreeNoise::Make(seed, 10'000);
  std::vector<int64_t> sum(2000, 0);
  for (int64_t round = 1; round <= 13; ++round) {
    ASSERT_TRUE(tree.AddToRound(round, 0, sum).ok());
    std::vector<int64_t> prefix(sum.size(), 0);
    ASSERT_TRUE(tree.AddToPrefix(round, 0, prefix).ok());
    ASSERT_EQ(sum, prefix);
    double squares = 0;
    for (const int64_t value : sum) squares += static_cast<double>(value * value);
    // As many nodes as the number has ones; five standard deviations.
    const double want = 10'000.0 * std::popcount(static_cast<uint64_t>(round));
    EXPECT_NEAR(squares / 2000, want, 0.16 * want);
  }
}

TEST(TreeNoise, BadRoundsAreRefused) {
  const NoiseSeed seed = *NoiseSeed::FromStored(std::string(32, 't'));
  const TreeNoise tree = *TreeNoise::Make(seed, 4);
  std::vector<int64_t> out(3, 5);
  EXPECT_FALSE(tree.AddToPrefix(-1, 0, out).ok());
  EXPECT_FALSE(tree.AddToRound(0, 0, out).ok());
  EXPECT_TRUE(tree.AddToPrefix(0, 0, out).ok());
  EXPECT_EQ(out, (std::vector<int64_t>{5, 5, 5}));
  EXPECT_FALSE(TreeNoise::Make(seed, 0).ok());
}

}  // namespace
}  // namespace rivulet
