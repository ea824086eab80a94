#include "peft/zeroth_order/cma_es.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "common/random.h"

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

// The tutorial's equations (its section A, figure 6) once more, in plain loops over whole matrices
// of three numbers, with the Cholesky factor in place of the symmetric root, as the search has it.
struct Tutorial {
  static constexpr int n = 3, lambda = 6;
  using Vector = std::array<double, n>;
  using Matrix = std::array<Vector, n>;
  const CmaEsConstants c = CmaEsConstantsOf(n, lambda);
  Vector m{}, p_sigma{}, p_c{};
  Matrix covariance{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
  double sigma = 0;
  int g = 0, stalls = 0;

  Matrix Lower() const {  // times its transpose: the covariance
    Matrix lower{};
    for (int row = 0; row < n; ++row) {
      for (int column = 0; column <= row; ++column) {
        double rest = covariance[row][column];
        for (int at = 0; at < column; ++at) rest -= lower[row][at] * lower[column][at];
        lower[row][column] = row == column ? std::sqrt(rest) : rest / lower[column][column];
      }
    }
    return lower;
  }
  static Vector Times(const Matrix& lower, const Vector& z) {
    Vector y{};
    for (int row = 0; row < n; ++row) {
      for (int column = 0; column < n; ++column) y[row] += lower[row][column] * z[column];
    }
    return y;
  }
  Vector Recombined(const std::vector<Vector>& best) const {
    Vector mean{};
    for (size_t rank = 0; rank < c.weights.size(); ++rank) {
      for (int at = 0; at < n; ++at) mean[at] += c.weights[rank] * best[rank][at];
    }
    return mean;
  }
  // z and y of the best half, best first.
  void Update(const std::vector<Vector>& z, const std::vector<Vector>& y) {
    const Vector z_w = Recombined(z), y_w = Recombined(y);
    ++g;
    double squares = 0;
    for (int at = 0; at < n; ++at) {
      m[at] += sigma * y_w[at];
      p_sigma[at] = (1 - c.c_sigma) * p_sigma[at] +
                    std::sqrt(c.c_sigma * (2 - c.c_sigma) * c.mu_eff) * z_w[at];
      squares += p_sigma[at] * p_sigma[at];
    }
    const double norm = std::sqrt(squares);
    const bool h =
        norm / std::sqrt(1 - std::pow(1 - c.c_sigma, 2 * g)) < (1.4 + 2.0 / (n + 1)) * c.chi;
    stalls += !h;
    for (int at = 0; at < n; ++at) {
      p_c[at] = (1 - c.c_c) * p_c[at] + h * std::sqrt(c.c_c * (2 - c.c_c) * c.mu_eff) * y_w[at];
    }
    const double keep = 1 - c.c_1 - c.c_mu + (1 - h) * c.c_1 * c.c_c * (2 - c.c_c);
    for (int row = 0; row < n; ++row) {
      for (int column = 0; column < n; ++column) {
        double rank_mu = 0;
        for (size_t rank = 0; rank < c.weights.size(); ++rank) {
          rank_mu += c.weights[rank] * y[rank][row] * y[rank][column];
        }
        covariance[row][column] =
            keep * covariance[row][column] + c.c_1 * p_c[row] * p_c[column] + c.c_mu * rank_mu;
      }
    }
    sigma *= std::exp(c.c_sigma / c.d_sigma * (norm / c.chi - 1));
  }
};

// From far away with a small step, so that the path of the step size is too long at first.
TEST(CmaEs, StepsAreThoseOfTheTutorial) {
  constexpr uint64_t kRoot = 9;
  constexpr int kIterations = 25;
  Tutorial want;
  want.m = {3, 3, 3};
  want.sigma = 0.05;
  CmaEs search(std::vector<float>(3, 3), {Tutorial::lambda, want.sigma, kRoot});
  std::vector<float> point(3);
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    std::vector<float> normal(3 * Tutorial::lambda);
    RandomStream(kRoot, Purpose::kDirection, iteration).FillGauss(0, normal);
    const Tutorial::Matrix lower = want.Lower();
    std::vector<double> losses;
    std::vector<Tutorial::Vector> z, y;
    for (int k = 0; k < Tutorial::lambda; ++k) {
      z.push_back({normal[3 * k], normal[3 * k + 1], normal[3 * k + 2]});
      y.push_back(Tutorial::Times(lower, z.back()));
      search.Candidate(k, point);
      for (int at = 0; at < 3; ++at) {
        EXPECT_NEAR(point[at], want.m[at] + want.sigma * y[k][at], 1e-6) << iteration;
      }
      losses.push_back(TurnedEllipsoid(point));
    }
    std::vector<int> order = {0, 1, 2, 3, 4, 5};
    std::sort(order.begin(), order.end(), [&](int a, int b) { return losses[a] < losses[b]; });
    std::vector<Tutorial::Vector> best_z, best_y;
    for (int rank = 0; rank < Tutorial::lambda / 2; ++rank) {
      best_z.push_back(z[order[rank]]);
      best_y.push_back(y[order[rank]]);
    }
    search.Tell(losses);
    want.Update(best_z, best_y);
    EXPECT_NEAR(search.sigma() / want.sigma, 1, 1e-9) << iteration;
    for (int at = 0; at < 3; ++at) EXPECT_NEAR(search.mean()[at], want.m[at], 1e-9) << iteration;
  }
  EXPECT_GT(want.stalls, 0);
  EXPECT_LT(want.stalls, kIterations);
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
