#include "privacy/masking/weakest_session.h"

#include <gtest/gtest.h>

#include "privacy/masking/masked_form.h"
#include "privacy/secagg/client/policy.h"

namespace rivulet {
namespace {

// gamma .1 and delta .2, as by default.
secagg::Params Between(uint32_t least, uint32_t most,
                       secagg::Mode mode = secagg::Mode::kMalicious) {
  secagg::Params params;
  params.mode = mode;
  params.n_min = least;
  params.n_max = most;
  params.graph_policy = secagg::GraphPolicy::kRingAllowed;
  return params;
}

int64_t HonestShares(const secagg::Params& params) {
  return WeakestSession(params)->Shares()->effective();
}

// Rows of the protocol's table: n = 1000 has t = 163 and c = 70, n = 800 has 150 and 63, n = 320
// has 85 and 32. A complete graph of 700 to 1000 would vouch for 700 - 100.
TEST(WeakestSession, ARingVouchesForItsArcsAloneAndTheSmallestRosterForTheFewest) {
  EXPECT_EQ(HonestShares(Between(1000, 1000)), 93);
  EXPECT_EQ(HonestShares(Between(700, 1000)), 87);
  EXPECT_EQ(HonestShares(Between(300, 1000)), 53);
  EXPECT_EQ(HonestShares(Between(200, 1000)), 53);  // 200 - 100 if it stays a complete graph
}

// What a client counts on as honest inputs of a sum it counts on as shares of noise, too.
TEST(WeakestSession, OfACompleteGraphIsWhatTheProtocolPromises) {
  for (const uint32_t n : {4u, 6u, 9u, 10u, 19u, 20u, 64u, 256u}) {
    for (const uint32_t gamma : {50'000u, 100'000u, 333'334u}) {
      secagg::Params params = Between(n, n);
      params.gamma_ppm = gamma;
      EXPECT_EQ(HonestShares(params), secagg::HonestInputs(params, *params.RuleOf(n)))
          << n << " clients, gamma " << gamma;
    }
  }
}

TEST(WeakestSession, CompleteGraphsCountAsBefore) {
  EXPECT_EQ(HonestShares(Between(200, 256)), 175);  // 200 - 25, no ring up to 256
  secagg::Params params = Between(700, 1000);
  params.graph_policy = secagg::GraphPolicy::kCompleteOnly;
  EXPECT_EQ(HonestShares(params), 600);
  EXPECT_EQ(HonestShares(Between(700, 1000, secagg::Mode::kSemiHonest)), 600);
}

TEST(WeakestSession, WithoutAnHonestShareOrARowOfTheTableThereIsNone) {
  EXPECT_EQ(WeakestSession(Between(50, 1000)).status().code(),
            absl::StatusCode::kInvalidArgument);  // 100 of 50 may be corrupt
  secagg::Params params = Between(700, 1000);
  params.delta_ppm = 150'000;
  EXPECT_EQ(WeakestSession(params).status().code(), absl::StatusCode::kFailedPrecondition);
}

// sqrt(600 / 87): how much less noise there was while every graph counted as a complete one.
TEST(WeakestSession, TheNoiseOfAJobWithALargeCohortCountsOnIt) {
  JobSpec spec;
  spec.job.min_clients = 700;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.privacy.mechanism = "distributed";
  spec.privacy.noise_multiplier = 1;
  const MaskedForm form = *MaskedForm::Of(spec, {{"a", DType::kF32, {256}}});
  const DistributedNoise noise = *form.NoiseOf(form.ParamsOf({.attempt = 1, .cohort = 1000}));
  EXPECT_EQ(noise.session.Shares()->effective(), 87);
  EXPECT_DOUBLE_EQ(noise.Plan()->local_sigma, 1 / std::sqrt(87.0));
}

}  // namespace
}  // namespace rivulet
