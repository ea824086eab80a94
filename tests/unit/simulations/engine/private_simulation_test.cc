// Whole jobs of a small model under the coordinator's noise: of so little of it that they learn.
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "tests/unit/simulations/engine/letters.h"

namespace rivulet {
namespace {

const std::vector<std::string> kSix = {"ada", "bob", "cid", "dot", "eva", "fay"};

JobSpec NoisedJob() {
  JobSpec spec = testing::LetterJob();
  spec.privacy.mechanism = "central";
  spec.privacy.clip_norm = 8;
  spec.privacy.noise_multiplier = 2e-3;
  spec.privacy.target_epsilon = 1e6;
  spec.privacy.evaluate_in_clear = true;  // to see that it learns
  return spec;
}

// The clip is of all coefficients together, and so many of them get noise.
void SendCoefficients(JobSpec& spec) {
  spec.lora.lora_r = 1;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.max_grad_norm = 0;
  spec.train.queries = 2;
  spec.train.learning_rate = 1e-3;
  spec.scalars.enabled = true;
}

struct Noised {
  const char* name;
  void (*change)(JobSpec&);
};

class NoisedSimulation : public ::testing::TestWithParam<Noised> {};

TEST_P(NoisedSimulation, LearnsAndChargesEveryRound) {
  JobSpec spec = NoisedJob();
  GetParam().change(spec);
  std::mutex mutex;
  int charged = 0;
  const JobView view = testing::RunLetters(spec, kSix, [&](const JobEvent& event) {
                         const std::lock_guard lock(mutex);
                         charged += event.type == "ledger.charged" ? 1 : 0;
                       }).view;
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  EXPECT_EQ(charged, 3);
  ASSERT_EQ(view.evaluations.size(), 2u);
  EXPECT_LT(view.evaluations[1].loss, view.evaluations[0].loss - 0.05);
}

// The clip norms that the rounds of a masked simulation come to.
std::vector<double> ClipNorms(const std::string& mechanism, double first) {
  JobSpec spec = NoisedJob();
  spec.privacy.mechanism = mechanism;
  spec.privacy.adaptive_clip = true;
  spec.privacy.clip_norm = first;
  spec.secure_aggregation.enabled = true;
  spec.job.min_clients = 6;
  spec.train.max_steps = 1;
  spec.data.held_out_fraction = 0;
  std::mutex mutex;
  std::vector<double> norms = {first};
  const JobView view = testing::RunLetters(spec, kSix, [&](const JobEvent& event) {
                         const std::lock_guard lock(mutex);
                         for (const auto& [key, value] : event.data) {
                           if (key == "clip_norm") norms.push_back(std::get<double>(value));
                         }
                       }).view;
  EXPECT_EQ(view.state, JobState::kFinished) << view.reason;
  return norms;
}

// One step of AdamW moves no number by more than the learning rate of 0.003: far less than 500
// altogether, far more than 0.001. The noise of the bits is of deviation 1/20 of their share:
// its half is never reached (1 in 10^22).
TEST(MaskedSimulation, TheClipNormGoesWhereTheUpdatesAre) {
  for (const char* mechanism : {"central", "distributed"}) {
    const std::vector<double> fall = ClipNorms(mechanism, 500), rise = ClipNorms(mechanism, 1e-3);
    ASSERT_EQ(fall.size(), 4U) << mechanism;
    ASSERT_EQ(rise.size(), 4U) << mechanism;
    for (size_t round = 1; round < 4; ++round) {
      EXPECT_LT(fall[round], fall[round - 1]) << mechanism;
      EXPECT_GT(rise[round], rise[round - 1]) << mechanism;
    }
    EXPECT_LE(rise[3], 1e-3 * std::exp(0.3) * (1 + 1e-9)) << "the share is cut to 0..1";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Mechanisms, NoisedSimulation,
    ::testing::Values(Noised{"tree", [](JobSpec& spec) { spec.privacy.correlation = "tree"; }},
                      Noised{"banded",
                             [](JobSpec& spec) {
                               spec.privacy.correlation = "banded";
                               spec.privacy.min_separation = 3;
                               spec.job.clients_per_round = 2;
                             }},
                      Noised{"adaptive", [](JobSpec& spec) { spec.privacy.adaptive_clip = true; }},
                      Noised{"masked_adaptive",
                             [](JobSpec& spec) {
                               spec.privacy.adaptive_clip = true;
                               spec.secure_aggregation.enabled = true;
                               spec.compression.codec = "int8";
                               spec.job.min_clients = 6;
                             }},
                      Noised{"shares_adaptive",
                             [](JobSpec& spec) {
                               spec.privacy.adaptive_clip = true;
                               spec.privacy.mechanism = "distributed";
                               spec.secure_aggregation.enabled = true;
                               spec.job.min_clients = 6;
                             }},
                      Noised{"scalars", SendCoefficients},
                      Noised{"masked_scalars",
                             [](JobSpec& spec) {
                               SendCoefficients(spec);
                               spec.privacy.mechanism = "distributed";
                               spec.secure_aggregation.enabled = true;
                               spec.compression.codec = "int8";
                               spec.job.min_clients = 6;
                             }},
                      Noised{"masked",
                             [](JobSpec& spec) {
                               spec.secure_aggregation.enabled = true;
                               spec.compression.codec = "int8";
                               spec.job.min_clients = 6;
                             }}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace rivulet
