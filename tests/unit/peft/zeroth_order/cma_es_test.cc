#include "peft/zeroth_order/cma_es.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace rivulet {
namespace {

using Loss = std::function<double(std::span<const float>)>;

double Sphere(std::span<const float> x) {
  double sum = 0;
  for (float value : x) sum += double{value} * value;
  return sum;
}
// Curvatures from 1 to 10^6.
double Ellipsoid(std::span<const float> x) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double power = 6 * static_cast<double>(i) / static_cast<double>(x.size() - 1);
    sum += std::pow(10, power) * x[i] * x[i];
  }
  return sum;
}
// The same along other axes than the coordinates'.
double TurnedEllipsoid(std::span<const float> x) {
  std::vector<float> turned(x.begin(), x.end());
  for (size_t i = 0; i + 1 < x.size(); ++i) {
    const float a = turned[i], b = turned[i + 1];
    turned[i] = 0.6f * a - 0.8f * b;
    turned[i + 1] = 0.8f * a + 0.6f * b;
  }
  return Ellipsoid(turned);
}

// `iterations` of a search that starts at (3, ..., 3).
CmaEs Searched(const Loss& loss, int64_t n, int iterations, const CmaEs::Settings& settings) {
  CmaEs search(std::vector<float>(n, 3), settings);
  std::vector<float> point(n);
  std::vector<double> losses(settings.population);
  for (int iteration = 0; iteration < iterations; ++iteration) {
    for (int k = 0; k < settings.population; ++k) {
      search.Candidate(k, point);
      losses[k] = loss(point);
    }
    search.Tell(losses);
  }
  return search;
}
double LossAtMean(const CmaEs& search, const Loss& loss) {
  return loss(std::vector<float>(search.mean().begin(), search.mean().end()));
}
std::vector<double> MeanOf(const CmaEs& search) {
  return {search.mean().begin(), search.mean().end()};
}

// FedBPT's client: 500 numbers, 20 candidates. Values: the formulas of the tutorial, computed
// beforehand with Python's math.
TEST(CmaEs, ConstantsAreThoseOfTheTutorial) {
  const CmaEsConstants c = CmaEsConstantsOf(500, 20);
  EXPECT_EQ(c.weights.size(), 10u);
  EXPECT_NEAR(c.mu_eff, 5.938805, 1e-6);
  EXPECT_NEAR(c.c_sigma, 0.01553768, 1e-8);
  EXPECT_NEAR(c.d_sigma, 1.01553768, 1e-8);
  EXPECT_NEAR(c.c_c, 0.00795970, 1e-8);
  EXPECT_NEAR(c.c_1, 7.958374e-6, 1e-12);
  EXPECT_NEAR(c.c_mu, 3.259545e-5, 1e-11);
  EXPECT_NEAR(c.chi, 22.349504, 1e-6);
  double sum = 0;
  for (double weight : c.weights) sum += weight;
  EXPECT_NEAR(sum, 1, 1e-15);
  EXPECT_GT(c.weights.front(), c.weights.back());
  EXPECT_GT(c.weights.back(), 0);
}

// The evolution strategy converges log-linearly: far below rounding of the start after these many
// iterations. Seeds are fixed: this holds for ever or not at all.
TEST(CmaEs, SphereAndEllipsoidsConverge) {
  for (uint64_t seed : {1, 2, 3}) {
    EXPECT_LT(LossAtMean(Searched(Sphere, 20, 250, {12, 1, seed}), Sphere), 1e-8);
    EXPECT_LT(LossAtMean(Searched(Ellipsoid, 10, 800, {10, 1, seed}), Ellipsoid), 1e-8);
    EXPECT_LT(LossAtMean(Searched(TurnedEllipsoid, 10, 800, {10, 1, seed}), TurnedEllipsoid), 1e-8);
  }
}

// Without a loss that tells candidates apart nothing is learnt, and the step stays about what it
// was: its logarithm walks without drift. Over 200 iterations at n = 20 the deviation of that walk
// is below 0.5; 2.5 is 5 of them.
TEST(CmaEs, RandomRanksNeitherShrinkNorBlowUpTheStep) {
  uint64_t state = 7;
  const CmaEs search = Searched(
      [&](std::span<const float>) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<double>(state >> 33);
      },
      20, 200, {12, 1, 1});
  EXPECT_LT(std::abs(std::log(search.sigma())), 2.5);
}

TEST(CmaEs, OnlyTheOrderOfLossesCounts) {
  const CmaEs plain = Searched(Ellipsoid, 10, 60, {10, 1, 5});
  const CmaEs bent =
      Searched([](std::span<const float> x) { return std::log(1e-3 + Ellipsoid(x)) - 100; }, 10, 60,
               {10, 1, 5});
  EXPECT_EQ(MeanOf(plain), MeanOf(bent));
  EXPECT_EQ(plain.sigma(), bent.sigma());
}

TEST(CmaEs, ASeedGivesTheSameBitsAndAnotherOthers) {
  const CmaEs one = Searched(Sphere, 30, 40, {8, 0.5, 11});
  EXPECT_EQ(MeanOf(one), MeanOf(Searched(Sphere, 30, 40, {8, 0.5, 11})));
  EXPECT_NE(MeanOf(one), MeanOf(Searched(Sphere, 30, 40, {8, 0.5, 12})));
}

// The first candidates are mean + sigma z. By hand: 2,000 numbers of N(3, 0.25); the mean of 2,000
// is off by 0.011, the mean square by 3.2 %: bounds of 5 deviations.
TEST(CmaEs, FirstCandidatesHaveTheMeanAndDeviationAskedFor) {
  const CmaEs search(std::vector<float>(100, 3), {20, 0.5, 4});
  std::vector<float> point(100);
  double sum = 0, squares = 0;
  for (int k = 0; k < 20; ++k) {
    search.Candidate(k, point);
    for (float value : point) sum += value - 3;
    for (float value : point) squares += (value - 3) * (value - 3);
  }
  EXPECT_NEAR(sum / 2000, 0, 0.056);
  EXPECT_NEAR(squares / 2000 / 0.25, 1, 0.16);
}

// One step by hand, n = 1, population 2: the better candidate is the new mean.
TEST(CmaEs, OneParentOfTwoIsTheNextMean) {
  CmaEs search(std::vector<float>{1}, {2, 2, 3});
  std::vector<float> first(1), second(1);
  search.Candidate(0, first);
  search.Candidate(1, second);
  ASSERT_NE(first[0], second[0]);
  search.Tell(std::vector<double>{5, 4});
  EXPECT_NEAR(search.mean()[0], second[0], 1e-6);
  EXPECT_EQ(search.iteration(), 1u);
}

}  // namespace
}  // namespace rivulet
