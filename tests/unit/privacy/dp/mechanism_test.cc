#include "privacy/dp/mechanism.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "privacy/dp/accountant.h"
#include "privacy/dp/rounding.h"
#include "privacy/dp/sampler.h"
#include "tests/unit/privacy/dp/golden.h"

namespace rivulet {
namespace {

NoiseSeed MechanismSeed(char byte) { return *NoiseSeed::FromStored(std::string(32, byte)); }

SessionShape Everybody(int64_t clients) {
  return {.threat = SessionShape::Threat::kSemiHonest, .least = clients, .most = clients};
}

TEST(CentralNoise, TheVarianceIsRoundedUpAndCoversTheRoundingOfTheUpdate) {
  const CentralNoise noise{.noise_multiplier = 1.5, .clip_norm = 0.5, .values = 1 << 22};
  EXPECT_DOUBLE_EQ(noise.Sensitivity(), 0.5 * 0x1p24 + 1024);  // sqrt(2^22)/2
  const double exact = std::pow(1.5 * noise.Sensitivity(), 2);
  EXPECT_GE(static_cast<double>(*noise.Variance()), exact);
  EXPECT_LE(static_cast<double>(*noise.Variance()), exact + 64);
  EXPECT_GE(*(CentralNoise{1, 1e-7, 1}.Variance()), 1u);
}

TEST(CentralNoise, WhatHasNoNoiseIsRefused) {
  for (const double bad : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    EXPECT_EQ((CentralNoise{bad, 1, 10}.Variance().status().code()),
              absl::StatusCode::kInvalidArgument);
    EXPECT_FALSE((CentralNoise{1, bad, 10}.Variance().ok()));
  }
  EXPECT_FALSE((CentralNoise{1, 1, 0}.Variance().ok()));
  EXPECT_TRUE((CentralNoise{1, 22, 10}.Variance().ok()));
  EXPECT_EQ((CentralNoise{1, 23, 10}.Variance().status().code()), absl::StatusCode::kOutOfRange);
}

TEST(CentralNoise, TheSameSeedGivesTheSameNoiseHoweverItIsCutUp) {
  const NoiseSeed seed = MechanismSeed('n'), again = MechanismSeed('n');
  std::vector<int64_t> whole(3 * kNoiseBlock / 2, 7), parts = whole;
  ASSERT_TRUE(AddCentralNoise(seed, 10'000, 0, whole).ok());
  // The second block first, as another thread might.
  ASSERT_TRUE(
      AddCentralNoise(again, 10'000, kNoiseBlock, std::span(parts).subspan(kNoiseBlock)).ok());
  ASSERT_TRUE(AddCentralNoise(again, 10'000, 0, std::span(parts).first(kNoiseBlock)).ok());
  EXPECT_EQ(whole, parts);
  double squares = 0;
  for (const int64_t value : whole) squares += std::pow(static_cast<double>(value - 7), 2);
  // Five standard deviations of the mean square of 98304 draws: 2.3 %.
  EXPECT_NEAR(squares / static_cast<double>(whole.size()), 10'000, 230);
}

TEST(CentralNoise, AnotherSeedGivesOtherNoise) {
  std::vector<int64_t> one(100, 0), other = one;
  ASSERT_TRUE(AddCentralNoise(MechanismSeed('a'), 1 << 20, 0, one).ok());
  ASSERT_TRUE(AddCentralNoise(MechanismSeed('b'), 1 << 20, 0, other).ok());
  EXPECT_NE(one, other);
}

TEST(CentralNoise, OddStretchesAndOverflowsAreRefused) {
  const NoiseSeed seed = MechanismSeed('o');
  std::vector<int64_t> values(10, 0);
  EXPECT_EQ(AddCentralNoise(seed, 4, 1, values).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AddCentralNoise(seed, 4, -kNoiseBlock, values).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(AddCentralNoise(seed, 0, 0, values).ok());
  std::vector<int64_t> full(64, std::numeric_limits<int64_t>::max());
  EXPECT_EQ(AddCentralNoise(seed, 1 << 20, 0, full).code(), absl::StatusCode::kOutOfRange);
}

// Half the cohort lost: the noise and the denominator are what they were.
TEST(CentralNoise, NothingDependsOnHowManyCame) {
  EXPECT_EQ(*FixedDenominator(0.5, 100), 50);
  EXPECT_EQ(*FixedDenominator(1, 64), 64);
  EXPECT_FALSE(FixedDenominator(0, 64).ok());
  EXPECT_FALSE(FixedDenominator(0.5, 0).ok());
  EXPECT_FALSE(FixedDenominator(std::nan(""), 5).ok());
}

TEST(DistributedNoise, ThePlanIsThatOfTheFormulas) {
  const DistributedNoise noise{.noise_multiplier = 1,
                               .clip_norm = 1,
                               .values = 1 << 20,
                               .accumulator_bits = 20,
                               .session = Everybody(64)};
  const DistributedPlan plan = *noise.Plan();
  EXPECT_EQ(plan.ring_bits, 22);
  EXPECT_DOUBLE_EQ(plan.local_sigma, 0.125);
  EXPECT_NEAR(plan.norm_bound, RoundedNormBound(plan.scale, 1 << 20), 1e-6);
  const double exact = std::pow(plan.scale * 0.125, 2);
  EXPECT_GE(static_cast<double>(plan.local_variance), exact);
  EXPECT_LE(static_cast<double>(plan.local_variance), exact + 1);
}

// The sum of everybody's shares has n_eff shares' variance or more: z C in the unit of the clip
// norm.
TEST(DistributedNoise, TheSharesAddUpToTheNoiseThatIsCounted) {
  for (const auto kind :
       {DistributedEvent::Noise::kDiscreteGaussian, DistributedEvent::Noise::kSkellam}) {
    const DistributedNoise noise{.noise = kind,
                                 .noise_multiplier = 2,
                                 .clip_norm = 0.5,
                                 .values = 4096,
                                 .accumulator_bits = 18,
                                 .session = Everybody(8)};
    const DistributedPlan plan = *noise.Plan();
    std::vector<int64_t> sum(4096, 0);
    for (char client = 0; client < 8; ++client) {
      ASSERT_TRUE(AddNoiseShare(MechanismSeed(client), kind, plan.local_variance, sum).ok());
    }
    double squares = 0;
    for (const int64_t value : sum) squares += std::pow(static_cast<double>(value) / plan.scale, 2);
    EXPECT_NEAR(squares / 4096, 1, 0.11);  // five standard deviations
    EXPECT_TRUE(CheckSumRange(sum, plan.ring_bits).ok());
  }
}

// z_delta = 1.1547 on the data and a bit of 2 sigma_b = 2 cost together what z = 1 costs.
TEST(DistributedNoise, AClipBitIsCountedWithTheData) {
  DistributedNoise noise{.noise_multiplier = 1.1547005383792515,
                         .total_multiplier = 1,
                         .clip_norm = 1,
                         .values = 65536,
                         .accumulator_bits = 24,
                         .session = Everybody(64)};
  const auto spent = [](const DistributedNoise& noise) {
    return DistributedRdp(std::get<DistributedEvent>(*noise.Event()), 2);
  };
  EXPECT_NEAR(spent(noise), 1, 1e-3);  // alpha / (2 z^2)
  noise.total_multiplier = 0;
  EXPECT_NEAR(spent(noise), 0.75, 1e-3);
  noise.total_multiplier = 2;
  EXPECT_FALSE(noise.Event().ok());
}

// The noise that is surely on the sum of bits: z_delta of the vectors of the design, and the shares
// of 64 clients of which 40 are counted on.
TEST(DistributedNoise, TheBitsNoiseIsWhatTheSplitLeavesForIt) {
  for (const nlohmann::json& row : Golden("dp_adaptive_clipping")["z_delta"]) {
    DistributedNoise noise{.noise_multiplier = row["z_delta"],
                           .total_multiplier = row["z"],
                           .clip_norm = 1,
                           .values = 4096,
                           .accumulator_bits = 24,
                           .session = Everybody(64)};
    noise.session.least = 40;
    const double exact = std::pow(128 * row["sigma_b"].get<double>(), 2);
    const auto sure = [&] { return 40.0 * static_cast<double>(noise.Plan()->bit_variance); };
    EXPECT_GE(sure(), exact * (1 - 1e-9));
    EXPECT_LE(sure(), exact * (1 + 1e-9) + 80);  // rounded up, each
    noise.noise = DistributedEvent::Noise::kSkellam;
    EXPECT_EQ(noise.Plan()->bit_variance % 2, 0u);
    EXPECT_GE(sure(), exact + 40);
  }
}

// Data and bit are independent releases: what is counted for both is never below their sum.
TEST(DistributedNoise, WhatIsCountedCoversDataAndBit) {
  for (const auto kind :
       {DistributedEvent::Noise::kDiscreteGaussian, DistributedEvent::Noise::kSkellam}) {
    DistributedNoise noise{.noise = kind,
                           .noise_multiplier = 1.1547005383792515,  // n = 20: 2 sigma_b = 2
                           .total_multiplier = 1,
                           .clip_norm = 1,
                           .values = 4096,
                           .accumulator_bits = 24,
                           .session = Everybody(20)};
    const auto both = std::get<DistributedEvent>(*noise.Event());
    const auto variance = static_cast<double>(noise.Plan()->bit_variance);
    noise.total_multiplier = 0;
    const auto data = std::get<DistributedEvent>(*noise.Event());
    const DistributedEvent bit(ZeroOut{}, kind, 64, variance, 1, *Everybody(20).Shares(), 1);
    for (const double alpha : {2.0, 8.0, 64.0, 512.0}) {
      EXPECT_GE(DistributedRdp(both, alpha),
                (DistributedRdp(data, alpha) + DistributedRdp(bit, alpha)) * (1 - 1e-12));
    }
  }
}

TEST(DistributedNoise, ARingWithoutRoomForTheBitsIsRefused) {
  DistributedNoise noise{.noise_multiplier = 2,
                         .total_multiplier = 1,
                         .clip_norm = 1,
                         .values = 16,
                         .accumulator_bits = 16,
                         .session = Everybody(1100)};  // 70,400 of the bits alone
  EXPECT_THAT(noise.Plan().status().message(), testing::HasSubstr("enough for adaptive-clipping"));
  noise.total_multiplier = 0;
  EXPECT_TRUE(noise.Plan().ok());
}

TEST(DistributedNoise, FewerGuaranteedSharesCostMoreNoiseEach) {
  DistributedNoise noise{.noise_multiplier = 1,
                         .clip_norm = 1,
                         .values = 1000,
                         .accumulator_bits = 20,
                         .session = Everybody(100)};
  const double all = noise.Plan()->local_sigma;
  noise.session.least = 25;
  EXPECT_DOUBLE_EQ(noise.Plan()->local_sigma, 2 * all);
  EXPECT_FALSE((DistributedNoise{.session = noise.session}.Plan().ok()));
}

TEST(SessionShape, GuaranteesTheSharesOfTheTable) {
  using Threat = SessionShape::Threat;
  using Graph = SessionShape::Graph;
  const auto effective = [](SessionShape shape) { return shape.Shares()->effective(); };
  // n_min - max(1, floor(gamma n_max))
  EXPECT_EQ(effective({Threat::kSemiHonest, Graph::kComplete, 50, 64, 0, 100'000}), 44);
  // max(n_min, t) - max(1, floor(gamma n_max))
  EXPECT_EQ(effective({Threat::kMalicious, Graph::kComplete, 50, 64, 40, 100'000}), 44);
  EXPECT_EQ(effective({Threat::kMalicious, Graph::kComplete, 30, 64, 40, 100'000}), 34);
  // ring: t - c; the design's n = 1000 with gamma .1 and delta .2 has t = 163, c = 70
  EXPECT_EQ(effective({Threat::kMalicious, Graph::kRing, 700, 1000, 163, 100'000, 70}), 93);
  // ... and needs both: no honest share is left, or nobody was allowed for
  EXPECT_FALSE(
      (SessionShape{Threat::kMalicious, Graph::kRing, 700, 1000, 70, 100'000, 70}.Shares().ok()));
  EXPECT_FALSE(
      (SessionShape{Threat::kMalicious, Graph::kRing, 700, 1000, 163, 100'000}.Shares().ok()));
  EXPECT_FALSE(
      (SessionShape{Threat::kSemiHonest, Graph::kComplete, 6, 64, 0, 100'000}.Shares().ok()));
  EXPECT_FALSE((SessionShape{Threat::kMalicious, Graph::kComplete, 5, 4, 3, 0}.Shares().ok()));
  EXPECT_FALSE((SessionShape{Threat::kMalicious, Graph::kComplete, 5, 8, 0, 0}.Shares().ok()));
}

// A tenth of six is nobody, but the protocol counts on one.
TEST(SessionShape, OneClientOfASmallCohortMayBeCorrupt) {
  using Threat = SessionShape::Threat;
  const auto effective = [](SessionShape shape) { return shape.Shares()->effective(); };
  for (const Threat threat : {Threat::kSemiHonest, Threat::kMalicious}) {
    SessionShape six{.threat = threat, .least = 6, .most = 6, .threshold = 4, .corrupt_ppm = 1};
    EXPECT_EQ(effective(six), 5);
    six.corrupt_ppm = 100'000;
    EXPECT_EQ(effective(six), 5);
    six.corrupt_ppm = 333'334;
    EXPECT_EQ(effective(six), 4);
    six.corrupt_ppm = 0;
    EXPECT_EQ(effective(six), 6);
  }
}

// Shares come from a session's guarantee alone.
static_assert(!std::is_constructible_v<NoiseShares, int64_t, int64_t>);
static_assert(!std::is_default_constructible_v<NoiseShares>);

TEST(SumRange, AWrappedSumIsNotPublished) {
  EXPECT_TRUE(CheckSumRange(std::vector<int64_t>{15, -15, 0}, 6).ok());
  for (const int64_t bad : {int64_t{16}, int64_t{-16}, std::numeric_limits<int64_t>::min()}) {
    const absl::Status status = CheckSumRange(std::vector<int64_t>{0, bad}, 6);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(status.message(), testing::HasSubstr("coordinate 1"));
  }
  EXPECT_FALSE(CheckSumRange({}, 2).ok());
  EXPECT_FALSE(CheckSumRange({}, 64).ok());
}

}  // namespace
}  // namespace rivulet
