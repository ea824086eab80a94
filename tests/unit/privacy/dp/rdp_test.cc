#include "privacy/dp/rdp.h"

#include <gtest/gtest.h>

#include <cmath>

#include "privacy/dp/group_privacy.h"
#include "privacy/dp/log_math.h"
#include "privacy/dp/tree.h"
#include "tests/unit/privacy/dp/accountant_vectors.h"

namespace rivulet {
namespace {

FractionalSeries SeriesOf(const nlohmann::json& row) {
  return row.value("fractional", "any") == "bounding" ? FractionalSeries::kBounding
                                                      : FractionalSeries::kSigned;
}

// All steps of an entry, at its orders.
RdpCurve CurveOf(const nlohmann::json& row) {
  RdpCurve curve = RdpCurve::Zero(OrdersOf(row));
  const auto add = [&](double q, double sigma, double steps) {
    curve.Add(SampledGaussianCurve(q, sigma, curve.orders, SeriesOf(row)), steps);
  };
  if (row["mechanism"] == "composition") {
    for (const nlohmann::json& event : row["events"]) add(event[0], event[1], event[2]);
  } else if (row["mechanism"] == "tree_aggregation") {
    const double sigma = row["sigma"];
    add(1, sigma / std::sqrt(*TreeSensitivitySquared(row["steps"], 1, 0)), 1);
  } else {
    const double members = row["accountant"] == "rdp" ? row.value("group", 1.0) : 1.0;
    add(row["q"], row["sigma"].get<double>() / members, row["steps"]);
  }
  return curve;
}

TEST(Rdp, MeetsEveryVector) {
  const auto rows = VectorsOf("rdp");
  EXPECT_EQ(rows.size(), 26u);
  for (const nlohmann::json& row : rows) {
    const RdpEpsilon found = EpsilonOf(CurveOf(row), row["delta"]);
    ExpectEpsilon(row, found.epsilon);
    if (row["expect"].contains("order")) {
      EXPECT_DOUBLE_EQ(found.order, row["expect"]["order"].get<double>()) << row["id"];
    }
    // What an independent implementation found, far below the published tolerance.
    const double other = row["independent_value"];
    EXPECT_NEAR(found.epsilon, other, 1e-8 * other) << row["id"];
  }
}

TEST(Rdp, MeetsTheValuesAtSingleOrders) {
  const auto rows = VectorsOf("rdp_value");
  EXPECT_EQ(rows.size(), 16u);
  for (const nlohmann::json& row : rows) {
    const double q = row["q"], sigma = row["sigma"], order = row["order"], steps = row["steps"];
    const bool fixed = row.value("neighbouring", "") == "replace_one";
    const double found = steps * (fixed ? FixedSizeGaussianRdp(q, sigma, order)
                                        : SampledGaussianRdp(q, sigma, order, SeriesOf(row)));
    const double want = row["expect"]["value"], other = row["independent_value"];
    EXPECT_NEAR(found, want, row["rel_tol"].get<double>() * want) << row["id"];
    EXPECT_NEAR(found, other, 1e-8 * other) << row["id"];
  }
}

TEST(Rdp, MeetsTheConversionAndTheGroupLemma) {
  for (const nlohmann::json& row : VectorsOf("conversion")) {
    RdpCurve constant = RdpCurve::Zero(OrdersOf(row));
    constant.values.assign(constant.orders.size(), 1.1);
    const RdpEpsilon found = EpsilonOf(constant, row["delta"]);
    ExpectEpsilon(row, found.epsilon);
    EXPECT_EQ(found.order, 32);
    EXPECT_TRUE(found.order_at_end);
  }
  const auto rows = VectorsOf("rdp_group_lemma");
  EXPECT_EQ(rows.size(), 2u);
  for (const nlohmann::json& row : rows) {
    ExpectEpsilon(row, GroupLemmaEpsilon(CurveOf(row), row["group"], row["delta"]));
  }
}

TEST(Rdp, TheIntegerSeriesAndBothFractionalOnesAgreeAtIntegers) {
  for (const double order : {2.0, 5.0, 40.0}) {
    const double want = SampledGaussianRdp(0.03, 1.1, static_cast<int64_t>(order));
    // The two series' own sums, a hair beside the integer where they are not replaced by it.
    for (const auto series : {FractionalSeries::kSigned, FractionalSeries::kBounding}) {
      EXPECT_NEAR(SampledGaussianRdp(0.03, 1.1, order + 1e-9, series), want, 1e-5 * want);
    }
  }
}

TEST(Rdp, TheBoundingSeriesIsTheLargerOne) {
  for (const double order : {1.3, 1.5, 2.5, 7.7}) {
    EXPECT_GT(SampledGaussianRdp(0.01, 0.7, order, FractionalSeries::kBounding),
              SampledGaussianRdp(0.01, 0.7, order, FractionalSeries::kSigned));
  }
}

TEST(Rdp, TheEndsOfTheRangesAreExact) {
  EXPECT_EQ(SampledGaussianRdp(0, 1.0, int64_t{5}), 0);
  EXPECT_EQ(SampledGaussianRdp(0.5, 0.0, int64_t{5}), kPlusInfinity);
  EXPECT_EQ(SampledGaussianRdp(1, 2.0, int64_t{6}), 6.0 / 8);
  EXPECT_EQ(GaussianRdp(3, 0), kPlusInfinity);
  EXPECT_EQ(EpsilonOf(RdpCurve::Zero(), 1e-5).epsilon, 0);
  RdpCurve infinite = RdpCurve::Zero();
  infinite.values.assign(infinite.orders.size(), kPlusInfinity);
  EXPECT_EQ(EpsilonOf(infinite, 1e-5).epsilon, kPlusInfinity);
  EXPECT_EQ(DeltaOf(infinite, 5), 1);
}

TEST(Rdp, DeltaAndEpsilonAreInverse) {
  RdpCurve curve = RdpCurve::Zero();
  curve.Add(SampledGaussianCurve(0.01, 1.0), 1000);
  for (const double delta : {1e-3, 1e-5, 1e-9}) {
    EXPECT_NEAR(DeltaOf(curve, EpsilonOf(curve, delta).epsilon), delta, 1e-9 * delta);
  }
}

TEST(Rdp, TheProductionOrdersAreIntegers) {
  const std::vector<double>& orders = ProductionOrders();
  ASSERT_EQ(orders.size(), 257u);
  EXPECT_EQ(orders.front(), 2);
  EXPECT_EQ(orders[254], 256);
  EXPECT_EQ(orders[255], 512);
  EXPECT_EQ(orders.back(), 1024);
}

}  // namespace
}  // namespace rivulet
