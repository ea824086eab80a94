// Each rule at its documented f withstands what at f + 1 breaks it.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/aggregation/robust/cohort.h"

namespace rivulet {
namespace {

constexpr float kFar = 1e6f;

// `honest` rows of values in [-1, 1], then `bad` ones at kFar in every coordinate.
Cohort WithFarOnes(size_t honest, size_t bad) {
  Cohort::Rows rows = GaussRows(honest, 5, 21);
  for (std::vector<float>& row : rows) {
    for (float& value : row) value = std::tanh(value);
  }
  rows.insert(rows.end(), bad, std::vector<float>(5, kFar));
  return Cohort(std::move(rows));
}

double LargestOf(const absl::StatusOr<RobustResult>& result) {
  EXPECT_TRUE(result.ok()) << result.status();
  double largest = 0;
  for (const double value : FlatOf(result->mean)) largest = std::max(largest, std::fabs(value));
  return largest;
}

TEST(Breakdown, OneLiarBreaksTheMean) {
  EXPECT_GT(LargestOf(WithFarOnes(99, 1).Run({.rule = "mean"})), 0.009 * kFar);
}

TEST(Breakdown, MedianAndTrimmedMeanStandLessThanHalf) {
  for (const char* rule : {"median", "trimmed-mean"}) {
    for (uint32_t f = 1; f <= 5; ++f) {
      const RobustSettings settings{.rule = rule, .f = f};
      EXPECT_LE(LargestOf(WithFarOnes(f + 1, f).Run(settings)), 1) << rule << f;
      EXPECT_GE(LargestOf(WithFarOnes(f, f + 1).Run(settings)), kFar) << rule << f;
    }
  }
}

// Near the far cluster Weiszfeld moves by a factor of f / (f + 1) in an iteration.
TEST(Breakdown, TheGeometricMedianStandsLessThanHalfOnceItHasConverged) {
  for (uint32_t f = 1; f <= 5; ++f) {
    const RobustSettings settings{.rule = "geometric-median", .f = f, .iterations = 400};
    EXPECT_LE(LargestOf(WithFarOnes(f + 1, f).Run(settings)), 5) << f;
    EXPECT_GE(LargestOf(WithFarOnes(f, f + 1).Run(settings)), 0.99 * kFar) << f;
  }
}

// With its usual three iterations it is still on its way, so it needs the clip before it.
TEST(Breakdown, ThreeIterationsOfTheGeometricMedianNeedAClip) {
  RobustSettings settings{.rule = "geometric-median", .f = 3};
  EXPECT_GT(LargestOf(WithFarOnes(4, 3).Run(settings)), 0.1 * kFar);
  settings.clip = 2;
  EXPECT_LE(LargestOf(WithFarOnes(4, 3).Run(settings)), 1);
}

double AfterRounds(const Cohort& cohort, const RobustSettings& settings, int rounds) {
  ParameterSet previous(cohort.manifest());
  const auto rule = *MakeRobustRule(settings);
  for (int round = 0; round < rounds; ++round) {
    auto result =
        rule->Aggregate(cohort.views(), {.manifest = &cohort.manifest(), .previous = &previous});
    EXPECT_TRUE(result.ok());
    previous = std::move(result->mean);
  }
  return previous.floats(0)[0];
}

// Every update pulls by tau at most: f pull forth and f + 1 back, or the other way round.
TEST(Breakdown, CentredClippingDriftsWithTheMajority) {
  for (uint32_t f = 1; f <= 5; ++f) {
    const RobustSettings settings{.rule = "centred-clipping", .f = f, .tau = 1};
    EXPECT_LE(std::fabs(AfterRounds(WithFarOnes(f + 1, f), settings, 200)), 5) << f;
    EXPECT_GE(AfterRounds(WithFarOnes(f, f + 1), settings, 200), 10) << f;
  }
}

// Honest ones in the corners of a simplex, at squared distance 2 of each other; bad ones all at one
// point, at squared distance 5 of every honest one. Of the n - f - 2 = f + 1 neighbours that count,
// a bad one among f has f - 1 at 0 and two at 5: 10; one among f + 1 has f at 0 and one at 5. An
// honest one has 2 (f + 1), which is between 5 and 10 for f = 2 and 3.
TEST(Breakdown, KrumTakesTheBadOnesForACrowdAtOneMore) {
  for (const char* rule : {"krum", "multi-krum"}) {
    for (const uint32_t f : {2u, 3u}) {
      const size_t n = 2 * f + 3;
      for (const size_t bad : {size_t{f}, size_t{f} + 1}) {
        Cohort::Rows rows(n, std::vector<float>(n + 1, 0.0f));
        for (size_t row = 0; row < n; ++row) {
          if (row < n - bad) rows[row][row + 1] = 1;
          if (row >= n - bad) rows[row][0] = 2;
        }
        const auto result = Cohort(rows).Run({.rule = rule, .f = f});
        ASSERT_TRUE(result.ok()) << result.status();
        const double want = bad == f ? 0 : 2;
        EXPECT_EQ(FlatOf(result->mean)[0], want) << rule << f;
      }
    }
  }
}

// The farthest that `bad` equal liars anywhere on a line move Bulyan beyond the honest values.
double BeyondHonest(const std::vector<float>& honest, size_t bad, uint32_t f) {
  double most = 0;
  for (int step = -400; step <= 400; ++step) {
    Cohort::Rows rows(bad, {0.125f * static_cast<float>(step)});
    for (const float value : honest) rows.push_back({value});
    const auto result = Cohort(rows).Run({.rule = "bulyan", .f = f});
    EXPECT_TRUE(result.ok()) << result.status();
    const double value = FlatOf(result->mean)[0];
    most = std::max({most, value - *std::max_element(honest.begin(), honest.end()),
                     *std::min_element(honest.begin(), honest.end()) - value});
  }
  return most;
}

// Far off liars never get through Bulyan at f + 1 either: of its theta = 2f + 3 at most f + 1 are
// bad and the median stays honest. What breaks in this example is that it stays within the honest
// values.
TEST(Breakdown, BulyanStaysWithinTheHonestValuesUpToF) {
  EXPECT_LE(BeyondHonest({-3, -1, 0, 0, 1, 3}, 1, 1), 0);
  EXPECT_GT(BeyondHonest({-3, -1, 0, 1, 3}, 2, 1), 1);
  EXPECT_LE(LargestOf(WithFarOnes(6, 1).Run({.rule = "bulyan", .f = 1})), 1);
  EXPECT_LE(LargestOf(WithFarOnes(9, 2).Run({.rule = "bulyan", .f = 2})), 1);
  // A majority of the selected is needed to carry it away.
  EXPECT_GE(LargestOf(WithFarOnes(5, 6).Run({.rule = "bulyan", .f = 2})), 0.5 * kFar);
}

// |mean - honest mean| <= 2 C f / n, for any boost.
TEST(Breakdown, NormBoundLimitsWhatEachLiarMoves) {
  const RobustSettings settings{.rule = "norm-bound", .clip = 2};
  const double clean = FlatOf(WithFarOnes(10, 0).Run(settings)->mean)[0];
  double before = 0;
  for (const size_t bad : {1, 2, 3}) {
    const double moved = FlatOf(WithFarOnes(10 - bad, bad).Run(settings)->mean)[0] - clean;
    EXPECT_LE(moved, 2 * 2 * static_cast<double>(bad) / 10);
    EXPECT_GT(moved, before);
    before = moved;
  }
}

TEST(Breakdown, FlTrustStandsOnItsRootAlone) {
  const std::vector<float> root = {1, 1, 1, 1, 1};
  Cohort::Rows rows(9, std::vector<float>(5, -kFar));
  rows.push_back({1, 2, 1, 0, 1});
  const Cohort cohort(rows);
  const UpdateView clean = {std::span(root)}, bought = {std::span(rows[0])};
  const auto held = cohort.Run({.rule = "fltrust"}, {.root = &clean});
  EXPECT_LE(LargestOf(held), std::sqrt(5.0));
  EXPECT_FALSE(held->verdicts[0].kept);
  EXPECT_GE(LargestOf(cohort.Run({.rule = "fltrust"}, {.root = &bought})), 0.9 * kFar);
}

}  // namespace
}  // namespace rivulet
