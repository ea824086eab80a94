#include "peft/zeroth_order/estimator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "tests/unit/common/direction/reference.h"

namespace rivulet {
namespace {

constexpr uint64_t kRoot = 99;
const Manifest kManifest = {{"bias", DType::kF32, {40}}, {"weight", DType::kF32, {12, 10}}};
constexpr size_t kSize = 160;

// L(w) = 1/2 sum of curvature[i] (w[i] - centre[i])^2.
struct Quadratic {
  std::vector<double> curvature, centre;
  Quadratic() {
    std::vector<float> draws(2 * kSize);
    RandomStream(4, Purpose::kBaseTensor, 0).FillGauss(0, draws);
    for (size_t i = 0; i < kSize; ++i) {
      curvature.push_back(0.2 + std::abs(draws[i]));
      centre.push_back(draws[kSize + i]);
    }
  }
  double LossAt(std::span<const float> w) const {
    double loss = 0;
    for (size_t i = 0; i < kSize; ++i) {
      loss += 0.5 * curvature[i] * (w[i] - centre[i]) * (w[i] - centre[i]);
    }
    return loss;
  }
  std::vector<float> GradientAt(std::span<const float> w) const {
    std::vector<float> gradient;
    for (size_t i = 0; i < kSize; ++i) {
      gradient.push_back(static_cast<float>(curvature[i] * (w[i] - centre[i])));
    }
    return gradient;
  }
};

double Dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

// Element i of the flat buffer of direction `index`, from the reference.
float ElementAt(const DirectionSettings& settings, uint64_t index, size_t i) {
  return i < 40 ? testing::ElementAt(settings, kRoot, index, {0, 40, 1}, static_cast<int64_t>(i))
                : testing::ElementAt(settings, kRoot, index, {1, 12, 10},
                                     static_cast<int64_t>(i) - 40);
}

class Estimator : public ::testing::Test {
 protected:
  Estimator() : values_(kSize), point_(kSize) {
    RandomStream(7, Purpose::kBaseTensor, 1).FillGauss(0, values_);
  }
  absl::StatusOr<SlopeEstimates> Measure(const Directions& directions, Difference difference,
                                         double epsilon, uint64_t step, int queries) {
    return MeasureSlopes(difference, epsilon, IndicesOf(step, queries), 1,
                         At(directions, [&] { return quadratic_.LossAt(point_); }));
  }
  // `loss` reads point_ at one point after the other.
  Objective At(const Directions& directions, std::function<double()> loss) {
    return [this, &directions, loss](std::span<const EvaluationPoint> points) {
      std::vector<double> losses;
      for (const EvaluationPoint& point : points) {
        point_ = values_;
        if (point.scale != 0) directions.Perturb(point.index, point.scale, values_, point_);
        losses.push_back(loss());
      }
      return losses;
    };
  }

  Quadratic quadratic_;
  std::vector<float> values_, point_;
};

TEST_F(Estimator, EvaluatesAtBothSidesAndLeavesEveryBitOfTheValues) {
  const DirectionSettings settings{DirectionKind::kGauss};
  const Directions directions(settings, kRoot, kManifest);
  const std::vector<float> before = values_;
  int call = 0;
  const auto slopes = MeasureSlopes(
      Difference::kCentral, 0.01, IndicesOf(5, 2), 1, At(directions, [&] {
        const float scale = call % 2 == 0 ? 0.01f : -0.01f;
        for (size_t i = 0; i < kSize; ++i) {
          // Step 5 of two queries: indices 10 and 11.
          EXPECT_EQ(point_[i], std::fma(scale, ElementAt(settings, 10 + call / 2, i), before[i]));
        }
        ++call;
        return 1.0;
      }));
  ASSERT_TRUE(slopes.ok()) << slopes.status();
  EXPECT_EQ(call, 4);
  EXPECT_EQ(std::memcmp(values_.data(), before.data(), kSize * sizeof(float)), 0);
}

// A central difference of a quadratic is exact but for rounding: w + eps z is off by 2^-24 of 4 at
// most in each of 160 numbers, which moves the loss by 160 * 2^-22 * 12 and the slope by that over
// eps: below 0.01 at eps = 0.1.
TEST_F(Estimator, CentralSlopesAreThoseOfTheGradient) {
  for (const DirectionSettings& settings : {DirectionSettings{DirectionKind::kRademacher},
                                            {DirectionKind::kGauss},
                                            {DirectionKind::kLowRank, 2}}) {
    const Directions directions(settings, kRoot, kManifest);
    const auto measured = Measure(directions, Difference::kCentral, 0.1, 2, 3);
    ASSERT_TRUE(measured.ok()) << measured.status();
    const std::vector<double> exact =
        ProjectGradient(directions, IndicesOf(2, 3), quadratic_.GradientAt(values_));
    ASSERT_EQ(measured->slopes.size(), 3u);
    for (int query = 0; query < 3; ++query) {
      EXPECT_NEAR(measured->slopes[query], exact[query], 0.01);
    }
  }
}

// One-sided slopes of a quadratic are too large by eps / 2 z^T D z, which for signs is eps / 2
// times the sum of curvatures, here about 160; they meet as eps goes to 0. Rounding as above.
TEST_F(Estimator, OneSidedSlopesMeetCentralOnesAsEpsilonFalls) {
  const Directions directions({DirectionKind::kRademacher}, kRoot, kManifest);
  double trace = 0;
  for (double curvature : quadratic_.curvature) trace += curvature;
  const auto central = Measure(directions, Difference::kCentral, 0.1, 0, 3);
  ASSERT_TRUE(central.ok());
  for (double epsilon : {0.5, 0.1}) {
    const auto one_sided = Measure(directions, Difference::kOneSided, epsilon, 0, 3);
    ASSERT_TRUE(one_sided.ok());
    EXPECT_DOUBLE_EQ(one_sided->loss, quadratic_.LossAt(values_));
    for (int query = 0; query < 3; ++query) {
      EXPECT_NEAR(one_sided->slopes[query] - central->slopes[query], epsilon / 2 * trace, 0.02);
    }
  }
}

// However many points share a call, their losses and what comes of them are the same.
TEST_F(Estimator, PointsMeasuredTogetherGiveTheSameSlopes) {
  const Directions directions({DirectionKind::kGauss}, kRoot, kManifest);
  for (const Difference difference : {Difference::kCentral, Difference::kOneSided}) {
    const auto alone = Measure(directions, difference, 0.1, 3, 5);
    ASSERT_TRUE(alone.ok()) << alone.status();
    const size_t all = difference == Difference::kCentral ? 10 : 6;
    for (const int batched : {0, 1, 2, 5, 9}) {
      const size_t together = PointsOfPass(difference, batched, 5);
      std::vector<size_t> sizes;
      const Objective each = At(directions, [&] { return quadratic_.LossAt(point_); });
      const auto measured = MeasureSlopes(difference, 0.1, IndicesOf(3, 5), together,
                                          [&](std::span<const EvaluationPoint> points) {
                                            sizes.push_back(points.size());
                                            return each(points);
                                          });
      ASSERT_TRUE(measured.ok()) << measured.status();
      EXPECT_EQ(measured->slopes, alone->slopes);
      EXPECT_EQ(measured->loss, alone->loss);
      EXPECT_EQ(measured->spread, alone->spread);
      std::vector<size_t> want(all / together, together);
      if (all % together > 0) want.push_back(all % together);
      EXPECT_EQ(sizes, want) << batched;
    }
  }
  EXPECT_EQ(PointsOfPass(Difference::kCentral, 2, 5), 4u);
  EXPECT_EQ(PointsOfPass(Difference::kOneSided, 2, 5), 3u);
  EXPECT_EQ(PointsOfPass(Difference::kCentral, 9, 5), 10u);
}

// The law of the design for P queries in d dimensions: <g, ghat> / (|g| sqrt(E|ghat|^2)) is
// sqrt(P / (P + d - 1)) for signs, dense or of rank one, and sqrt(P / (P + d + 1)) for normal
// numbers. 16,000 queries each. The mean of squared slopes, whose root decides, has a relative
// standard error of at most sqrt(8 / 16000) = 2.2 % (rank one; sqrt(2 / 16000) = 1.1 % for the
// others), the root half of it: 5 % are 4.5 of them, a false alarm in one of 100,000 seeds.
TEST_F(Estimator, CosineWithTheGradientFollowsTheLaw) {
  struct Law {
    DirectionSettings settings;
    double beyond;  // d - 1 or d + 1
  };
  const std::vector<float> gradient = quadratic_.GradientAt(values_);
  for (const Law& law : {Law{{DirectionKind::kRademacher}, kSize - 1.0},
                         {{DirectionKind::kLowRank, 1}, kSize - 1.0},
                         {{DirectionKind::kGauss}, kSize + 1.0}}) {
    for (int queries : {1, 4, 16}) {
      const Directions directions(law.settings, kRoot, kManifest);
      const int steps = 16000 / queries;
      double along = 0, squares = 0;
      for (int step = 0; step < steps; ++step) {
        const auto measured = Measure(directions, Difference::kCentral, 0.1, step, queries);
        ASSERT_TRUE(measured.ok());
        std::vector<float> estimate(kSize);
        MoveAlong(directions, IndicesOf(step, queries), DescentOf(measured->slopes, -1), estimate);
        along += Dot(estimate, gradient) / steps;
        squares += Dot(estimate, estimate) / steps;
      }
      const double cosine = along / std::sqrt(Dot(gradient, gradient) * squares);
      const double want = std::sqrt(queries / (queries + law.beyond));
      EXPECT_NEAR(cosine / want, 1, 0.05)
          << queries << " queries of kind " << static_cast<int>(law.settings.kind);
    }
  }
}

// E|mean of M - g|^2 = (d - 1) |g|^2 / M for signs. About 160 coordinates add up: its relative
// deviation is sqrt(2 / 160) = 11 % where all weigh the same, twice that where a quarter decides;
// 0.3 to 2 are beyond four deviations on the upper side and three on the lower: once in 1,000
// seeds.
TEST_F(Estimator, MeanOverManySeedsIsTheGradient) {
  const Directions directions({DirectionKind::kRademacher}, kRoot, kManifest);
  const std::vector<float> gradient = quadratic_.GradientAt(values_);
  std::vector<double> mean(kSize);
  for (int step = 0; step < 10000; ++step) {
    std::vector<float> estimate(kSize);
    const std::vector<uint64_t> index = {static_cast<uint64_t>(step)};
    MoveAlong(directions, index, DescentOf(ProjectGradient(directions, index, gradient), -1),
              estimate);
    for (size_t i = 0; i < kSize; ++i) mean[i] += estimate[i] / 10000.0;
  }
  double error = 0;
  for (size_t i = 0; i < kSize; ++i) error += (mean[i] - gradient[i]) * (mean[i] - gradient[i]);
  const double expected = (kSize - 1) * Dot(gradient, gradient) / 10000;
  EXPECT_GT(error / expected, 0.3);
  EXPECT_LT(error / expected, 2);
}

// MeZO in a few lines: w <- w - rate * slope * z.
TEST_F(Estimator, DescendingReproducesMezo) {
  const DirectionSettings settings{DirectionKind::kGauss};
  const Directions directions(settings, kRoot, kManifest);
  std::vector<float> reference = values_;
  for (uint64_t step = 0; step < 20; ++step) {
    std::vector<float> above(kSize), below(kSize);
    for (size_t i = 0; i < kSize; ++i) {
      above[i] = std::fma(1e-3f, ElementAt(settings, step, i), reference[i]);
      below[i] = std::fma(-1e-3f, ElementAt(settings, step, i), reference[i]);
    }
    const double slope =
        (quadratic_.LossAt(above) - quadratic_.LossAt(below)) / (2 * double{1e-3f});
    for (size_t i = 0; i < kSize; ++i) {
      reference[i] =
          std::fma(static_cast<float>(-0.01 * slope), ElementAt(settings, step, i), reference[i]);
    }
    const auto measured = Measure(directions, Difference::kCentral, 1e-3, step, 1);
    ASSERT_TRUE(measured.ok());
    MoveAlong(directions, IndicesOf(step, 1), DescentOf(measured->slopes, 0.01), values_);
    ASSERT_EQ(values_, reference) << "step " << step;
  }
}

// By hand: at w = 0 of L = sum of w, one-sided slopes are the sums of z, and losses eps times
// those.
TEST_F(Estimator, SpreadIsTheSampleDeviationOfTheQueries) {
  const Directions directions({DirectionKind::kRademacher}, kRoot, kManifest);
  std::fill(values_.begin(), values_.end(), 0.0f);
  const auto measured =
      MeasureSlopes(Difference::kOneSided, 0.5, IndicesOf(0, 3), 1, At(directions, [&] {
                      double sum = 0;
                      for (float value : point_) sum += value;
                      return sum;
                    }));
  ASSERT_TRUE(measured.ok());
  const std::vector<double>& s = measured->slopes;
  const double mean = (s[0] + s[1] + s[2]) / 3;
  const double variance = ((s[0] - mean) * (s[0] - mean) + (s[1] - mean) * (s[1] - mean) +
                           (s[2] - mean) * (s[2] - mean)) /
                          2;
  EXPECT_GT(variance, 0);
  EXPECT_NEAR(measured->spread, 0.5 * std::sqrt(variance), 1e-12);
}

TEST_F(Estimator, ALossThatIsNotFiniteIsAnErrorThatNamesTheDirection) {
  const Directions directions({DirectionKind::kRademacher}, kRoot, kManifest);
  const auto measured =
      MeasureSlopes(Difference::kCentral, 0.1, IndicesOf(4, 1), 1,
                    At(directions, [] { return std::numeric_limits<double>::quiet_NaN(); }));
  EXPECT_EQ(measured.status().code(), absl::StatusCode::kInternal);
  EXPECT_NE(std::string(measured.status().message()).find("along direction 4"), std::string::npos)
      << measured.status();
}

}  // namespace
}  // namespace rivulet
