// Whole jobs of a small model under the coordinator's noise: of so little of it that they learn.
#include <gtest/gtest.h>

#include <mutex>

#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "peft/data/client_data.h"
#include "simulations/engine/simulation.h"

namespace rivulet {
namespace {

const std::filesystem::path kTinyModel =
    std::filesystem::path(RIVULET_SOURCE_DIR) / "simulations/models/llama-7m";
const std::vector<std::string> kSix = {"ada", "bob", "cid", "dot", "eva", "fay"};

class SentenceResources final : public LocalResources {
 public:
  absl::StatusOr<std::filesystem::path> BaseModel(const JobSpec&, const std::string&) override {
    return kTinyModel;
  }
  absl::StatusOr<ClientData> Data(const std::string& client, const JobSpec& spec,
                                  const Tokenizer& tokenizer, int max_positions) override {
    std::vector<Record> records(30);
    for (size_t at = 0; at < records.size(); ++at) {
      records[at].fields["text"] =
          client + " wrote that the lamps were lit, and put the letter away. " + std::to_string(at);
    }
    return BuildClientData(records, spec.data, tokenizer, max_positions);
  }
};

JobSpec NoisedJob() {
  JobSpec spec;
  spec.job.num_rounds = 3;
  spec.job.min_clients = 2;
  spec.job.min_available_clients = 6;
  spec.job.seed = 3;
  spec.model.name = kTinyModel.string();
  spec.lora.lora_r = 4;
  spec.lora.lora_dropout = 0;
  spec.lora.lora_target_modules = {"q_proj", "v_proj", "down_proj"};
  spec.data.dataset = "sentences";
  spec.data.seq_length = 32;
  spec.data.held_out_max_blocks = 4;
  spec.train.max_steps = 4;
  spec.train.learning_rate = 3e-3;
  spec.train.per_device_train_batch_size = 2;
  spec.strategy.weighting = "uniform";
  spec.privacy.mechanism = "central";
  spec.privacy.clip_norm = 8;
  spec.privacy.noise_multiplier = 2e-3;
  spec.privacy.target_epsilon = 1e6;
  spec.privacy.evaluate_in_clear = true;  // to see that it learns
  return spec;
}

struct Noised {
  const char* name;
  void (*change)(JobSpec&);
};

class NoisedSimulation : public testing::TestWithParam<Noised> {};

TEST_P(NoisedSimulation, LearnsAndChargesEveryRound) {
  JobSpec spec = NoisedJob();
  GetParam().change(spec);
  ASSERT_TRUE(spec.Validate().ok()) << spec.Validate();
  const absl::StatusOr<JobDocument> document = DescribeJob(kTinyModel, spec);
  ASSERT_TRUE(document.ok()) << document.status();
  SimulationConfig config;
  config.spec = document->spec;
  config.base_model = kTinyModel;
  config.document = JobDocumentText(*document);
  SentenceResources resources;
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
    testing::Values(Noised{"tree", [](JobSpec& spec) { spec.privacy.correlation = "tree"; }},
                    Noised{"banded",
                           [](JobSpec& spec) {
                             spec.privacy.correlation = "banded";
                             spec.privacy.min_separation = 3;
                             spec.job.clients_per_round = 2;
                           }},
                    Noised{"adaptive", [](JobSpec& spec) { spec.privacy.adaptive_clip = true; }},
                    Noised{"masked",
                           [](JobSpec& spec) {
                             spec.secure_aggregation.enabled = true;
                             spec.compression.codec = "int8";
                             spec.job.min_clients = 6;
                           }}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace rivulet
