#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "peft/data/client_data.h"
#include "simulations/engine/simulation.h"

// A federation that a test can afford to run whole: six clients with 30 short records each.
namespace rivulet::testing {

inline const std::filesystem::path& LetterModel() {
  static const std::filesystem::path folder =
      std::filesystem::path(RIVULET_SOURCE_DIR) / "simulations/models/llama-7m";
  return folder;
}

class LetterResources final : public LocalResources {
 public:
  absl::StatusOr<std::filesystem::path> BaseModel(const JobSpec&, const std::string&) override {
    return LetterModel();
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

inline JobSpec LetterJob() {
  JobSpec spec;
  spec.job.num_rounds = 3;
  spec.job.min_clients = 2;
  spec.job.min_available_clients = 6;
  spec.job.seed = 3;
  spec.model.name = LetterModel().string();
  spec.lora.lora_r = 4;
  spec.lora.lora_dropout = 0;
  spec.lora.lora_target_modules = {"q_proj", "v_proj", "down_proj"};
  spec.data.dataset = "letters";
  spec.data.seq_length = 32;
  spec.data.held_out_max_blocks = 4;
  spec.train.max_steps = 4;
  spec.train.learning_rate = 3e-3;
  spec.train.per_device_train_batch_size = 2;
  spec.strategy.weighting = "uniform";
  return spec;
}

// The job run to its end by these clients. What goes wrong fails the test; the view is then empty.
// `watch` is called from several threads.
inline SimulationResult RunLetters(
    const JobSpec& spec, const std::vector<std::string>& clients,
    const std::function<void(const JobEvent&)>& watch = [](const JobEvent&) {},
    TaskRunner::TunerFactory tuners = {}) {
  EXPECT_TRUE(spec.Validate().ok()) << spec.Validate();
  const absl::StatusOr<JobDocument> document = DescribeJob(LetterModel(), spec);
  EXPECT_TRUE(document.ok()) << document.status();
  if (!document.ok()) return {};
  SimulationConfig config;
  config.spec = document->spec;
  config.base_model = LetterModel();
  config.document = JobDocumentText(*document);
  config.tuners = std::move(tuners);
  LetterResources resources;
  auto result =
      RunSimulation(config, clients, resources, watch, [](const JobView&) { return true; });
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : SimulationResult();
}

}  // namespace rivulet::testing
