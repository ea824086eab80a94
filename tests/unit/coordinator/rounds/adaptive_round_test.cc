// Adaptive clipping: what it costs, and where its norm is kept.
#include <cmath>

#include "common/job/job_keys.h"
#include "privacy/dp/exact_gaussian.h"
#include "private_fixture.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

class AdaptiveRounds : public PrivateRounds {};

// 6 clients: sigma_b = 6/20, and z = 0.3 costs the bits and a vector of z_delta together.
JobSpec AdaptiveSpec() {
  JobSpec spec = CentralSpec();
  spec.job.num_rounds = 5;
  spec.privacy.adaptive_clip = true;
  spec.privacy.clip_norm = 0.1;  // far below every toy's norm
  spec.privacy.noise_multiplier = 0.3;
  spec.privacy.target_epsilon = 1000;
  return spec;
}

TEST_F(AdaptiveRounds, TheClipNormFollowsTheNoisedBitsAndBothArePaidFor) {
  const JobView view = Run(Finish(AdaptiveSpec()));
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  const std::vector<LedgerRow> rows = Ledger();
  ASSERT_EQ(rows.size(), 5u);
  const double z_delta = 1 / std::sqrt(1 / 0.09 - 1 / 0.36);
  for (size_t row = 0; row < rows.size(); ++row) {
    EXPECT_EQ(rows[row].z, 0.3);
    EXPECT_NEAR(rows[row].z_delta, z_delta, 1e-12);
    const double moved = rows[row].clip_norm * 0x1p24 + std::sqrt(10.0) / 2;
    EXPECT_NEAR(rows[row].sigma_int, z_delta * moved, 1e-6 * moved);
    EXPECT_NEAR(rows[row].eps_pld,
                ExactGaussianEpsilon(std::sqrt(static_cast<double>(row + 1)) / 0.3, 1e-5), 1e-6);
    if (row == 0) continue;
    // No bit is set: b_bar is 0 but for noise of deviation 0.3/6. Eight of them: 1 in 10^15.
    const double step = std::log(rows[row].clip_norm / rows[row - 1].clip_norm);
    EXPECT_NEAR(step, 0.2 * 0.5, 0.2 * 0.4);
    EXPECT_NE(step, 0.2 * 0.5) << "the bits have noise";
  }
  EXPECT_EQ(rows[0].clip_norm, 0.1);
}

TEST_F(AdaptiveRounds, TheClipNormOutlivesARestart) {
  const std::string job = Finish(AdaptiveSpec());
  while (Show(job).round < 2) ASSERT_TRUE(Once());
  const StoredState stored = *states_->Load();
  ASSERT_EQ(stored.secrets.size(), 1u);
  EXPECT_EQ(stored.secrets[0].name, "clip-norm");
  RestartPrivate();
  ConnectMembers(kAll);
  ASSERT_EQ(Run(job).state, JobState::kFinished);
  EXPECT_EQ(NumberText(Ledger()[2].clip_norm), stored.secrets[0].bytes);
}

TEST_F(AdaptiveRounds, BitsThatWouldCostMoreThanTheRoundAreRefused) {
  JobSpec spec = AdaptiveSpec();
  spec.privacy.noise_multiplier = 0.7;  // 2 sigma_b = 0.6
  const JobView view = Run(Finish(spec));
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_THAT(view.reason, HasSubstr("privacy.adaptive-clip = true with a cohort of 6"));
  EXPECT_TRUE(Ledger().empty());
}

}  // namespace
}  // namespace rivulet
