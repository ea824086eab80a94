// Adaptive clipping under masks: clients are told the clip norm, and their bits come in the sum.
#include <bit>
#include <cmath>

#include "common/job/job_document.h"
#include "common/job/job_keys.h"
#include "common/job/job_model.h"
#include "privacy/dp/exact_gaussian.h"
#include "privacy/masking/task_terms.h"
#include "privacy/secagg/shared/bytes.h"
#include "private_fixture.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

// 6 clients: sigma_b = 6/20, and z = 0.3 is split between the bits and a vector of z_delta.
const double kVector = 1 / std::sqrt(1 / 0.09 - 1 / 0.36);

JobSpec MaskedAdaptiveSpec(const std::string& mechanism, double clip_norm, int rounds) {
  JobSpec spec = MaskedToySpec();
  spec.job.min_clients = 6;
  spec.job.num_rounds = rounds;
  spec.privacy.mechanism = mechanism;
  spec.privacy.adaptive_clip = true;
  spec.privacy.clip_norm = clip_norm;
  spec.privacy.noise_multiplier = 0.3;
  spec.privacy.target_epsilon = 1000;
  return spec;
}

class AdaptiveMaskedRounds : public PrivateRounds,
                             public testing::WithParamInterface<const char*> {};

// Norms of the toys' updates lie in 1..2.5, with a median of 1.8: ten numbers, each uniform between
// -1 and 1. Where C is near it, it moves by 0.05 around it (the bits of six clients and their
// noise); six deviations either way: 1 in 10^9.
constexpr double kLowMedian = 1.32, kHighMedian = 2.45;

TEST_P(AdaptiveMaskedRounds, TheClipNormRisesToTheMedian) {
  const JobView view = Run(Finish(MaskedAdaptiveSpec(GetParam(), 0.6, 18)));
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  EXPECT_EQ(Ledger().front().clip_norm, 0.6);
  EXPECT_GT(Ledger().back().clip_norm, kLowMedian);
  EXPECT_LT(Ledger().back().clip_norm, kHighMedian);
}

TEST_P(AdaptiveMaskedRounds, TheClipNormFallsToTheMedian) {
  const JobView view = Run(Finish(MaskedAdaptiveSpec(GetParam(), 5, 18)));
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  EXPECT_EQ(Ledger().front().clip_norm, 5);
  EXPECT_GT(Ledger().back().clip_norm, kLowMedian);
  EXPECT_LT(Ledger().back().clip_norm, kHighMedian);
}

TEST_P(AdaptiveMaskedRounds, BitAndVectorArePaidForTogether) {
  const bool shares = GetParam() == std::string("distributed");
  const JobView view = Run(Finish(MaskedAdaptiveSpec(GetParam(), 0.1, 3)));
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  const std::vector<LedgerRow> rows = Ledger();
  ASSERT_EQ(rows.size(), 3u);
  for (size_t row = 0; row < rows.size(); ++row) {
    EXPECT_EQ(rows[row].z, 0.3);
    EXPECT_NEAR(rows[row].z_delta, kVector, 1e-12);
    const double exact = ExactGaussianEpsilon(std::sqrt(static_cast<double>(row + 1)) / 0.3, 1e-5);
    if (shares) {  // counted by Renyi's divergence alone, and with the rounding of the update
      const double deviation = rows[row].sigma_int * std::sqrt(rows[row].n_eff);
      EXPECT_NEAR(deviation, kVector * rows[row].clip_norm * rows[row].scale, 1);
      EXPECT_GE(rows[row].eps_pld, exact);
      EXPECT_LT(rows[row].eps_pld, 1.2 * exact);
    } else {
      EXPECT_NEAR(rows[row].sigma_int, kVector * rows[row].norm_bound, 1e-3);
      EXPECT_NEAR(rows[row].scale, 32767 / rows[row].clip_norm, 1e-6 * rows[row].scale);
      EXPECT_NEAR(rows[row].eps_pld, exact, 1e-6);
    }
    if (row == 0) continue;
    // No bit is set: b_bar is 0 but for noise of deviation 0.3/6, cut off below. Eight: 1 in 10^15.
    const double step = std::log(rows[row].clip_norm / rows[row - 1].clip_norm);
    EXPECT_LE(step, 0.2 * 0.5 + 1e-12);
    EXPECT_GE(step, 0.2 * 0.1);
  }
}

TEST_P(AdaptiveMaskedRounds, TheClipNormOutlivesARestart) {
  const std::string job = Finish(MaskedAdaptiveSpec(GetParam(), 0.1, 4));
  // In the middle of round 3: its keys are exchanged with the clip norm of the round.
  const auto masked = [&] {
    return Show(job).round == 2 && !masked_.messages.empty() && !members_.Of("a").sent.empty() &&
           members_.Of("a").order->round == 3;
  };
  while (!masked()) ASSERT_TRUE(Once());
  const StoredState stored = *states_->Load();
  const auto secret = std::find_if(stored.secrets.begin(), stored.secrets.end(),
                                   [](const SecretRecord& one) { return one.name == "clip-norm"; });
  ASSERT_NE(secret, stored.secrets.end());
  const std::string before = members_.Of("a").order->masking;
  RestartPrivate();
  ConnectMembers(kAll);
  const JobView view = Run(job);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  ASSERT_EQ(Ledger().size(), 4u);
  EXPECT_EQ(NumberText(Ledger()[2].clip_norm), secret->bytes);
  const double told =
      std::bit_cast<double>(secagg::ByteReader(before.substr(before.size() - 8)).U64());
  EXPECT_EQ(NumberText(told), secret->bytes);
}

TEST_P(AdaptiveMaskedRounds, BitsThatWouldCostMoreThanTheRoundAreRefused) {
  JobSpec spec = MaskedAdaptiveSpec(GetParam(), 1, 2);
  spec.privacy.noise_multiplier = 0.7;  // 2 sigma_b = 0.6
  const JobView view = Run(Finish(spec));
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_THAT(view.reason, HasSubstr("noise multiplier: got 0.7"));
  EXPECT_TRUE(Ledger().empty());
}

TEST_P(AdaptiveMaskedRounds, WhereTheCohortIsKnownTheyAreRefusedAtOnce) {
  JobSpec spec;
  spec.model.name = "llama-7m";
  spec.lora.lora_target_modules = {"q_proj"};
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.privacy.mechanism = GetParam();
  spec.privacy.adaptive_clip = true;
  spec.privacy.noise_multiplier = 1.5;
  spec.data.held_out_fraction = 0;
  const auto planned = [&](int cohort) {
    spec.job.clients_per_round = spec.job.min_clients = cohort;
    const auto document = DescribeJob(RIVULET_SOURCE_DIR "/simulations/models/llama-7m", spec);
    EXPECT_TRUE(document.ok()) << document.status();
    return PlanOf(JobDocumentText(*document)).status();
  };
  EXPECT_TRUE(planned(16).ok()) << planned(16);
  const absl::Status refused = planned(15);  // 2 sigma_b = 1.5
  EXPECT_EQ(ExitCodeOf(refused), ExitCode::kConfig);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("noise multiplier: got 1.5"));
}

INSTANTIATE_TEST_SUITE_P(Mechanisms, AdaptiveMaskedRounds,
                         testing::Values("central", "distributed"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace rivulet
