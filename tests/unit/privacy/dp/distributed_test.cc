#include "privacy/dp/distributed.h"

#include <gtest/gtest.h>

#include <cmath>

#include "privacy/dp/rounding.h"
#include "tests/unit/privacy/dp/golden.h"

namespace rivulet {
namespace {

using Noise = DistributedEvent::Noise;

std::vector<double> TableOrders() {
  std::vector<double> orders;
  for (int order = 2; order <= 128; ++order) orders.push_back(order);
  orders.push_back(256);
  return orders;
}

NoiseShares SharesOf(int64_t clients) {
  return *SessionShape{
      .threat = SessionShape::Threat::kSemiHonest, .least = clients, .most = clients}
              .Shares();
}

RdpEpsilon EpsilonOfRounds(const nlohmann::json& row, Noise noise, double scale, double sigma_int,
                           double rounds, double delta) {
  const int64_t d = row["d"];
  const DistributedEvent event(AddRemoveOne{}, noise, RoundedNormBound(scale, d),
                               sigma_int * sigma_int, d, SharesOf(row["n"]), 1);
  RdpCurve curve = RdpCurve::Zero(TableOrders());
  curve.Add(DistributedCurve(event, curve.orders), rounds);
  return EpsilonOf(curve, delta);
}

TEST(Distributed, MeetsTheVectorsWithFixedParameters) {
  const auto rows = Golden("dp_distributed")["vectors"];
  EXPECT_EQ(rows.size(), 2u);
  for (const nlohmann::json& row : rows) {
    const double scale = row["scale"], sigma = scale * row["sigma_local"].get<double>();
    for (const auto& [noise, name] :
         {std::pair(Noise::kDiscreteGaussian, "ddg"), {Noise::kSkellam, "skellam"}}) {
      const RdpEpsilon found =
          EpsilonOfRounds(row, noise, scale, sigma, row["rounds"], row["delta"]);
      const double want = row[std::string("eps_") + name];
      EXPECT_NEAR(found.epsilon, want, 1e-6 * want);
      EXPECT_EQ(found.order, row[std::string("order_") + name].get<double>());
    }
  }
}

// Printed with 4 decimals (norm_inflation 6, sigma 3), so half of the last one is what can be met.
TEST(Distributed, MeetsTheTable) {
  const nlohmann::json golden = Golden("dp_distributed");
  EXPECT_EQ(golden["table"].size(), 336u);
  const double tolerance = golden["rel_tol"], rounds = golden["rounds"], delta = golden["delta"];
  const auto near = [&](double found, const nlohmann::json& want, double digit, const char* what,
                        const nlohmann::json& row) {
    const double value = want;
    EXPECT_NEAR(found, value, tolerance * value + digit / 2) << what << " of " << row.dump();
  };
  for (const nlohmann::json& row : golden["table"]) {
    const int64_t n = row["n"], d = row["d"];
    const double sigma = row["z"].get<double>() / std::sqrt(static_cast<double>(n));
    const double scale = *EncodingScale({.accumulator_bits = row["b_acc"],
                                         .most_clients = n,
                                         .clip_norm = golden["C"],
                                         .local_sigma = sigma,
                                         .values = d});
    near(scale, row["scale"], 1e-4, "scale", row);
    near(RoundedNormBound(scale, d) / scale, row["norm_inflation"], 1e-6, "norm", row);
    near(scale * sigma, row["local_sigma_int"], 1e-3, "sigma", row);
    near(
        EpsilonOfRounds(row, Noise::kDiscreteGaussian, scale, scale * sigma, rounds, delta).epsilon,
        row["eps_ddg"], 1e-4, "discrete Gaussian", row);
    near(EpsilonOfRounds(row, Noise::kSkellam, scale, scale * sigma, rounds, delta).epsilon,
         row["eps_skellam"], 1e-4, "Skellam", row);
    RdpCurve central = RdpCurve::Zero(TableOrders());
    central.Add(SampledGaussianCurve(1, row["z"], central.orders), rounds);
    near(EpsilonOf(central, delta).epsilon, row["eps_central"], 1e-4, "central", row);
  }
}

TEST(Distributed, CoarseNoiseCostsMoreThanFine) {
  const auto rdp = [](double bound, double variance) {
    return DistributedRdp(DistributedEvent(AddRemoveOne{}, Noise::kDiscreteGaussian, bound,
                                           variance, 1 << 20, SharesOf(64), 1),
                          4);
  };
  // The same ratio of norm to noise: with a variance of 1/4 the sum is far from a discrete
  // Gaussian.
  EXPECT_GT(rdp(10, 0.25), 2 * rdp(2000, 10'000));
  EXPECT_NEAR(rdp(2000, 10'000), 4 * 4e6 / (64 * 1e4) / 2, 1e-9);
}

// Replacing a vector moves the sum twice as far as removing it.
TEST(Distributed, ReplacingCostsFourTimesRemoving) {
  const auto rdp = [](auto relation) {
    return DistributedRdp(
        DistributedEvent(relation, Noise::kDiscreteGaussian, 1000, 1e4, 1 << 20, SharesOf(64), 1),
        2);
  };
  EXPECT_NEAR(rdp(ReplaceOne{}), 4 * rdp(AddRemoveOne{}), 1e-9);
  EXPECT_EQ(rdp(ZeroOut{}), rdp(AddRemoveOne{}));
}

}  // namespace
}  // namespace rivulet
