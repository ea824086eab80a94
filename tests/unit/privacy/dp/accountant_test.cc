#include "privacy/dp/accountant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <type_traits>

#include "privacy/dp/distributed.h"
#include "privacy/dp/exact_gaussian.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

// Amplification is for AddRemoveOne: a multiplier of another relation does not fit, and there is no
// event at all for a cohort of fixed size.
static_assert(
    std::is_constructible_v<PoissonGaussianEvent, double, NoiseMultiplier<AddRemoveOne>, int64_t>);
static_assert(
    !std::is_constructible_v<PoissonGaussianEvent, double, NoiseMultiplier<ReplaceOne>, int64_t>);
static_assert(
    !std::is_constructible_v<PoissonGaussianEvent, double, NoiseMultiplier<ZeroOut>, int64_t>);
static_assert(!std::is_convertible_v<NoiseMultiplier<AddRemoveOne>, NoiseMultiplier<ReplaceOne>>);
static_assert(!std::is_convertible_v<double, NoiseMultiplier<AddRemoveOne>>);

constexpr NoiseMultiplier<AddRemoveOne> Z(double value) { return {value}; }

Epsilon SpentOn(const std::vector<PrivacyEvent>& events, double delta = 1e-5) {
  Accountant accountant(PrivacyUnit::kClient);
  for (const PrivacyEvent& event : events) {
    const absl::Status composed = accountant.Compose(event);
    EXPECT_TRUE(composed.ok()) << composed;
  }
  const auto epsilon = accountant.EpsilonAt(delta);
  EXPECT_TRUE(epsilon.ok()) << epsilon.status();
  return epsilon.ok() ? *epsilon : Epsilon();
}

TEST(Accountant, ReportsBothNumbersOfTheVectors) {
  const Epsilon x1 = SpentOn({PoissonGaussianEvent(0.1, Z(1), 100)});
  EXPECT_NEAR(x1.pld, 7.0466029, 1e-6 * x1.pld);  // x1 and y1 of dp_accountant.json
  EXPECT_NEAR(x1.rdp, 7.97292151, 1e-8 * x1.rdp);
  EXPECT_EQ(x1.rdp_order, 3);
  EXPECT_EQ(x1.source, Epsilon::Source::kLossDistribution);
  const Epsilon x6 = SpentOn({PoissonGaussianEvent(0.001, Z(1), 30'000)}, 1e-7);
  EXPECT_NEAR(x6.pld, 1.0981990108, 1e-8);  // in 113-bit arithmetic, see pld_test.cc
  const Epsilon z4 = SpentOn({GaussianEvent(Z(4), 50)});
  EXPECT_NEAR(z4.pld, 8.5958657905, 1e-9 * z4.pld);
  EXPECT_NEAR(z4.rdp, 9.337861629, 1e-8 * z4.rdp);
  EXPECT_EQ(z4.source, Epsilon::Source::kExactGaussian);
}

TEST(Accountant, ManyEventsAreOneEventWithTheirSteps) {
  std::vector<PrivacyEvent> rounds(100, PoissonGaussianEvent(0.1, Z(1), 1));
  EXPECT_EQ(SpentOn(rounds).pld, SpentOn({PoissonGaussianEvent(0.1, Z(1), 100)}).pld);
  std::vector<PrivacyEvent> plain(50, GaussianEvent(Z(4), 1));
  EXPECT_NEAR(SpentOn(plain).pld, 8.5958657905, 1e-8);
}

TEST(Accountant, SamplingWithCertaintyIsNoSampling) {
  EXPECT_EQ(SpentOn({PoissonGaussianEvent(1, Z(2), 7)}).pld, SpentOn({GaussianEvent(Z(2), 7)}).pld);
}

// PLD <= RDP everywhere, and monotone: more steps, more sampling, less noise, smaller delta.
TEST(Accountant, MoreOfAnythingCostsMore) {
  const auto spent = [](double q, double sigma, int64_t steps, double delta) {
    const Epsilon epsilon = SpentOn({PoissonGaussianEvent(q, Z(sigma), steps)}, delta);
    EXPECT_LE(epsilon.pld, epsilon.rdp * (1 + 1e-6));
    return epsilon.pld;
  };
  const double base = spent(0.02, 1.0, 200, 1e-5);
  EXPECT_GT(base, 0.1);
  EXPECT_GT(spent(0.02, 1.0, 220, 1e-5), base);
  EXPECT_GT(spent(0.022, 1.0, 200, 1e-5), base);
  EXPECT_GT(spent(0.02, 0.9, 200, 1e-5), base);
  EXPECT_GT(spent(0.02, 1.0, 200, 1e-6), base);
}

TEST(Accountant, BothNumbersHoldOverAWideRange) {
  for (const double q : {1e-5, 1e-3, 0.3}) {
    for (const double sigma : {0.4, 1.0, 8.0, 100.0}) {
      for (const int64_t steps : {1, 1000, 100'000}) {
        const Epsilon epsilon = SpentOn({PoissonGaussianEvent(q, Z(sigma), steps)}, 1e-6);
        EXPECT_LE(epsilon.pld, epsilon.rdp * (1 + 1e-6)) << q << ' ' << sigma << ' ' << steps;
        EXPECT_GE(epsilon.pld, 0);
        // Sampling never costs more than taking everybody.
        EXPECT_LE(epsilon.pld, ExactGaussianEpsilon(std::sqrt(steps) / sigma, 1e-6) + 1e-6);
      }
    }
  }
}

TEST(Accountant, DifferentEventsCompose) {
  const Epsilon mixed = SpentOn({PoissonGaussianEvent(0.1, Z(1), 50), GaussianEvent(Z(3), 2),
                                 PoissonGaussianEvent(0.05, Z(0.8), 20)});
  const Epsilon fewer = SpentOn({PoissonGaussianEvent(0.1, Z(1), 50), GaussianEvent(Z(3), 2)});
  EXPECT_GT(mixed.pld, fewer.pld);
  EXPECT_LE(mixed.pld, mixed.rdp);
  // A Gaussian beside next to no sampled one is the Gaussian.
  const Epsilon nearly = SpentOn({GaussianEvent(Z(4), 50), PoissonGaussianEvent(1e-6, Z(100), 1)});
  EXPECT_NEAR(nearly.pld, 8.5958657905, 1e-4);
  EXPECT_GE(nearly.pld, 8.5958657905);
}

TEST(Accountant, RelationsDoNotMix) {
  Accountant accountant(PrivacyUnit::kClient);
  ASSERT_TRUE(accountant.Compose(GaussianEvent(Z(1), 1)).ok());
  const double before = accountant.EpsilonAt(1e-5)->pld;
  const absl::Status mixed = accountant.Compose(GaussianEvent(NoiseMultiplier<ReplaceOne>{1}, 1));
  EXPECT_EQ(mixed.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(mixed.message(), HasSubstr("replace-one"));
  EXPECT_EQ(accountant.EpsilonAt(1e-5)->pld, before);
  EXPECT_EQ(accountant.relation(), RelationName::kAddRemoveOne);
}

TEST(Accountant, UnitsAreNeverAdded) {
  Accountant clients(PrivacyUnit::kClient), examples(PrivacyUnit::kExample);
  ASSERT_TRUE(examples.Compose(GaussianEvent(Z(1), 1)).ok());
  EXPECT_EQ(clients.Compose(examples).code(), absl::StatusCode::kFailedPrecondition);
  Accountant more(PrivacyUnit::kExample);
  ASSERT_TRUE(more.Compose(examples).ok());
  ASSERT_TRUE(more.Compose(examples).ok());
  EXPECT_EQ(more.EpsilonAt(1e-5)->pld, SpentOn({GaussianEvent(Z(1), 2)}).pld);
}

TEST(Accountant, ReplacingMovesASumTwiceAsFar) {
  EXPECT_EQ(NoiseMultiplierOfSum<AddRemoveOne>(3, 2).value, 1.5);
  EXPECT_EQ(NoiseMultiplierOfSum<ReplaceOne>(3, 2).value, 0.75);
  EXPECT_EQ(NoiseMultiplierOfSum<ZeroOut>(3, 2).value, 1.5);
}

TEST(Accountant, NoNoiseCostsEverythingAndNoSamplingNothing) {
  EXPECT_EQ(SpentOn({GaussianEvent(Z(0), 1)}).pld, HUGE_VAL);
  EXPECT_EQ(SpentOn({PoissonGaussianEvent(0.5, Z(0), 1)}).pld, HUGE_VAL);
  EXPECT_EQ(SpentOn({PoissonGaussianEvent(0, Z(1), 100)}).pld, 0);
  EXPECT_EQ(SpentOn({}).pld, 0);
  EXPECT_EQ(SpentOn({}).rdp, 0);
}

TEST(Accountant, TreesAndFactorisationsAreOneGaussian) {
  // A tree over 1600 rounds, one participation: 11 nodes (vectors 30a, 30b).
  EXPECT_NEAR(SpentOn({TreeEvent(Z(1.13), 1600, 1, 0)}).pld,
              ExactGaussianEpsilon(std::sqrt(11.0) / 1.13, 1e-5), 1e-9);
  EXPECT_NEAR(SpentOn({BandedEvent(Z(1))}).pld, 4.3771780957, 1e-8);  // z1
}

TEST(Accountant, DistributedNoiseIsAccountedByRenyiOrders) {
  const auto shares =
      SessionShape{.threat = SessionShape::Threat::kSemiHonest, .least = 64, .most = 64}.Shares();
  // s = 8000, sigma = 1/8, n = 64, C = 1, d = 2^20: 19.865126480, order 3.
  const DistributedEvent event(AddRemoveOne{}, DistributedEvent::Noise::kDiscreteGaussian,
                               8016.898153275992, 1e6, 1 << 20, *shares, 10);
  const Epsilon spent = SpentOn({event});
  EXPECT_NEAR(spent.rdp, 19.865126480, 1e-6);
  EXPECT_EQ(spent.pld, spent.rdp);
  EXPECT_EQ(spent.source, Epsilon::Source::kRenyi);
}

TEST(Accountant, AnOrderAtTheEndOfTheListIsFlagged) {
  EXPECT_TRUE(SpentOn({GaussianEvent(Z(0.2), 1)}).order_at_end);
  EXPECT_FALSE(SpentOn({GaussianEvent(Z(4), 50)}).order_at_end);
}

TEST(Accountant, DeltaIsTheInverseOfEpsilon) {
  for (const PrivacyEvent& event :
       {PrivacyEvent(PoissonGaussianEvent(0.1, Z(1), 100)), PrivacyEvent(GaussianEvent(Z(2), 9))}) {
    Accountant accountant(PrivacyUnit::kExample);
    ASSERT_TRUE(accountant.Compose(event).ok());
    EXPECT_NEAR(*accountant.DeltaAt(accountant.EpsilonAt(1e-5)->pld), 1e-5, 1e-11);
    EXPECT_FALSE(accountant.DeltaAt(-1).ok());
  }
}

TEST(Accountant, WhatIsOutOfRangeIsRefusedByName) {
  Accountant accountant(PrivacyUnit::kClient);
  const auto message = [&](const PrivacyEvent& event) {
    return std::string(accountant.Compose(event).message());
  };
  EXPECT_THAT(message(GaussianEvent(Z(-1), 1)), HasSubstr("sigma"));
  EXPECT_THAT(message(GaussianEvent(Z(std::nan("")), 1)), HasSubstr("sigma"));
  EXPECT_THAT(message(GaussianEvent(Z(1), 0)), HasSubstr("steps"));
  EXPECT_THAT(message(PoissonGaussianEvent(1.5, Z(1), 1)), HasSubstr("q"));
  EXPECT_THAT(message(PoissonGaussianEvent(std::nan(""), Z(1), 1)), HasSubstr("q"));
  EXPECT_THAT(message(TreeEvent(Z(1), 8, 0, 0)), HasSubstr("max_participation"));
  EXPECT_THAT(message(TreeEvent(Z(1), 8, 1, -1)), HasSubstr("min_separation"));
  EXPECT_FALSE(accountant.relation().has_value());
  for (const double delta : {0.0, 1e-12, 1.0, std::nan("")}) {
    EXPECT_EQ(accountant.EpsilonAt(delta).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

// An empty batch is a release like any other: the step is counted, whoever came.
TEST(Accountant, AnEmptyRoundCounts) {
  EXPECT_GT(SpentOn({PoissonGaussianEvent(0.01, Z(1), 2)}).pld,
            SpentOn({PoissonGaussianEvent(0.01, Z(1), 1)}).pld);
}

}  // namespace
}  // namespace rivulet
