// Noise of the coordinator on a masked sum.
#include <algorithm>
#include <cmath>

#include "aggregation/fixed_point_sum.h"
#include "privacy/dp/clip.h"
#include "privacy/dp/exact_gaussian.h"
#include "privacy/dp/noise_seed.h"
#include "privacy/dp/rounding.h"
#include "private_fixture.h"

namespace rivulet {
namespace {

class CentralMaskedRounds : public PrivateRounds {};

JobSpec MaskedCentralSpec() {
  JobSpec spec = MaskedToySpec();
  spec.job.min_clients = 6;
  spec.privacy.mechanism = "central";
  spec.privacy.noise_multiplier = 0.5;
  spec.privacy.target_epsilon = 100;
  spec.privacy.clip_norm = 1;
  return spec;
}

TEST_F(CentralMaskedRounds, CentralNoiseOnAMaskedSumIsScaledByTheIntegersNorm) {
  const JobView view = Run(Finish(MaskedCentralSpec()));
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  const std::vector<LedgerRow> rows = Ledger();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].mechanism, DpMechanism::kCentralGaussian);
  EXPECT_EQ(rows[1].values, 10);
  EXPECT_EQ(rows[1].scale, 32767);  // 16 bits, no rotation, C = 1
  EXPECT_NEAR(rows[1].norm_bound, RoundedNormBound(32767, 10), 1e-6);
  EXPECT_NEAR(rows[1].sigma_int, 0.5 * rows[1].norm_bound, 1e-3);
  EXPECT_NEAR(rows[1].eps_pld, ExactGaussianEpsilon(std::sqrt(2.0) / 0.5, 1e-5), 1e-6);
  EXPECT_EQ(view.rounds.back().figures.tokens, 0) << "no figure leaves without noise";
}

TEST_F(CentralMaskedRounds, AMaskedSumUnderCentralNoiseIsThatOfClippedUpdates) {
  JobSpec spec = MaskedCentralSpec();
  spec.job.num_rounds = 1;
  spec.privacy.noise_multiplier = 1e-3;  // a deviation of 33 steps
  spec.privacy.target_epsilon = 1e6;
  const std::string job = Finish(spec);
  const std::string initial = states_->Load()->models[0].sha256;
  ASSERT_EQ(Run(job).state, JobState::kFinished) << Show(job).reason;
  ParameterSet want = *ToyPlanner(spec)("toy")->initial(ParameterSet());
  for (const std::string& client : kAll) {
    const ToyUpdate update = ToyTrain(client, 1, initial);
    const double factor = ClipOf(ViewOf(update.delta), 1)->factor;
    for (size_t row = 0; row < want.size(); ++row) {
      for (size_t at = 0; at < want.floats(row).size(); ++at) {
        want.floats(row)[at] += static_cast<float>(update.delta.floats(row)[at] * factor / 6);
      }
    }
  }
  const StoredState stored = *states_->Load();
  const ModelRecord& model = stored.models.back();
  const Manifest manifest = ToyManifest();
  const std::string file = *blobs_->Get(model.sha256, model.bytes);
  const ParameterSet last = *ReadParameterSet(file, &manifest);
  for (size_t row = 0; row < want.size(); ++row) {
    for (size_t at = 0; at < want.floats(row).size(); ++at) {
      // Six roundings of below one step each, and ten deviations of the noise: 1 in 10^22.
      EXPECT_NEAR(last.floats(row)[at], want.floats(row)[at], (6 + 330) / 32767.0 / 6);
    }
  }
}

TEST_F(CentralMaskedRounds, TheNoiseOfAClosedMaskedRoundIsStoredAndChargedOnce) {
  const std::string job = Finish(MaskedCentralSpec());
  const auto closed = [&] {
    const JobView view = Show(job);
    return !view.rounds.empty() && view.rounds.back().state == RoundState::kClosed;
  };
  while (!closed()) ASSERT_TRUE(Once());
  const StoredState stored = *states_->Load();
  const auto noise = std::find_if(stored.secrets.begin(), stored.secrets.end(),
                                  [](const SecretRecord& one) { return one.name == "noise"; });
  ASSERT_NE(noise, stored.secrets.end());
  const NoiseSeed seed = *NoiseSeed::FromStored(noise->bytes);
  EXPECT_EQ(Ledger().at(0).seed_commitment, seed.Commitment());
  RestartPrivate();
  ConnectMembers(kAll);
  const JobView view = Run(job);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  EXPECT_EQ(Ledger().size(), 2u);
  EXPECT_EQ(Ledger()[0].seed_commitment, seed.Commitment());
}

TEST_F(CentralMaskedRounds, ATreeOnMaskedSumsIsOneEventToo) {
  JobSpec spec = MaskedCentralSpec();
  spec.privacy.correlation = "tree";
  const JobView view = Run(Finish(spec));
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  // Everybody in both rounds: two leaves and 2^2 in their node, z = 1/2.
  for (const LedgerRow& row : Ledger()) {
    EXPECT_NEAR(row.eps_pld, ExactGaussianEpsilon(std::sqrt(6.0) / 0.5, 1e-5), 1e-6);
  }
  EXPECT_EQ(Ledger().size(), 2u);
}

}  // namespace
}  // namespace rivulet
