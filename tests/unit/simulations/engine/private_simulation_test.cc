// Whole jobs of a small model under the coordinator's noise: of so little of it that they learn.
#include <gtest/gtest.h>

#include <mutex>

#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "tests/unit/simulations/engine/letters.h"

namespace rivulet {
namespace {

using testing::LetterModel;

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
  ASSERT_TRUE(spec.Validate().ok()) << spec.Validate();
  const absl::StatusOr<JobDocument> document = DescribeJob(LetterModel(), spec);
  ASSERT_TRUE(document.ok()) << document.status();
  SimulationConfig config;
  config.spec = document->spec;
  config.base_model = LetterModel();
  config.document = JobDocumentText(*document);
  testing::LetterResources resources;
  std::mutex mutex;
  int charged = 0;
  const auto result = RunSimulation(
      config, kSix, resources,
      [&](const JobEvent& event) {
        const std::lock_guard lock(mutex);
        charged += event.type == "ledger.charged" ? 1 : 0;
      },
      [](const JobView&) { return true; });
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->view.state, JobState::kFinished) << result->view.reason;
  EXPECT_EQ(charged, 3);
  ASSERT_EQ(result->view.evaluations.size(), 2u);
  EXPECT_LT(result->view.evaluations[1].loss, result->view.evaluations[0].loss - 0.05);
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
