#include "privacy/dp/exact_gaussian.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/privacy/dp/accountant_vectors.h"

namespace rivulet {
namespace {

TEST(ExactGaussian, MeetsEveryVector) {
  const auto rows = VectorsOf("exact_gaussian");
  EXPECT_EQ(rows.size(), 6u);
  for (const nlohmann::json& row : rows) {
    const double steps = row["steps"], sigma = row["sigma"], members = row.value("group", 1.0);
    ExpectEpsilon(row, ExactGaussianEpsilon(std::sqrt(steps) * members / sigma, row["delta"]));
  }
}

TEST(ExactGaussian, MeetsVector18) {
  for (const nlohmann::json& row : VectorsOf("pld_connect_the_dots")) {
    if (row["id"] != "18") continue;
    const double mu = std::sqrt(row["steps"].get<double>()) / row["sigma"].get<double>();
    EXPECT_NEAR(ExactGaussianDelta(mu, 1), row["expect"]["delta_at_epsilon_1"].get<double>(),
                row["expect"]["abs_tol"].get<double>());
    return;
  }
  FAIL() << "no vector 18";
}

// The tails of the design's table, sigma = 4, T = 50.
TEST(ExactGaussian, IsExactFarOut) {
  const double mu = std::sqrt(50.0) / 4;
  EXPECT_NEAR(ExactGaussianEpsilon(mu, 1e-10), 12.384916, 1e-6);
  EXPECT_NEAR(ExactGaussianEpsilon(mu, 1e-12), 13.5952, 1e-4);
  EXPECT_NEAR(ExactGaussianEpsilon(mu, 1e-14), 14.70, 5e-3);
}

TEST(ExactGaussian, EpsilonAndDeltaAreInverseAndTheEndsAreRight) {
  for (const double mu : {0.01, 1.0, 20.0}) {
    for (const double delta : {1e-3, 1e-6, 1e-12}) {
      const double epsilon = ExactGaussianEpsilon(mu, delta);
      if (epsilon == 0) continue;
      EXPECT_LE(ExactGaussianDelta(mu, epsilon), delta);
      EXPECT_NEAR(ExactGaussianDelta(mu, epsilon), delta, 1e-8 * delta);
    }
  }
  EXPECT_EQ(ExactGaussianEpsilon(0, 1e-5), 0);
  EXPECT_EQ(ExactGaussianEpsilon(HUGE_VAL, 1e-5), HUGE_VAL);
  EXPECT_EQ(ExactGaussianEpsilon(1e-6, 1e-5), 0);  // delta(0) is already below
}

}  // namespace
}  // namespace rivulet
