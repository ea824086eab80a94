// Whole jobs of a small model whose updates go up in every form of [compression], and masked.
#include <gtest/gtest.h>

#include <map>

#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "peft/data/client_data.h"
#include "simulations/engine/simulation.h"

namespace rivulet {
namespace {

const std::filesystem::path kSmallModel =
    std::filesystem::path(RIVULET_SOURCE_DIR) / "simulations/models/llama-7m";

const std::map<std::string, std::string>& CodedPassages() {
  static const std::map<std::string, std::string> passages = {
      {"ada", "The river rose in the night and took the lower bridge with it. Nobody saw it go."},
      {"bob", "A list of tools lay on the bench: two chisels, a plane, a saw without teeth."},
      {"cid", "When the lamps were lit she read the letter again, slowly, and put it away."},
  };
  return passages;
}

class PassageResources final : public LocalResources {
 public:
  absl::StatusOr<std::filesystem::path> BaseModel(const JobSpec&, const std::string&) override {
    return kSmallModel;
  }
  absl::StatusOr<ClientData> Data(const std::string& client, const JobSpec& spec,
                                  const Tokenizer& tokenizer, int max_positions) override {
    std::vector<Record> records(30);
    for (size_t at = 0; at < records.size(); ++at) {
      const auto known = CodedPassages().find(client.substr(0, 3));
      records[at].fields["text"] = known->second + " " + std::to_string(at);
    }
    return BuildClientData(records, spec.data, tokenizer, max_positions);
  }
};

JobSpec SmallCodedJob(const CompressionSection& compression) {
  JobSpec spec;
  spec.job.num_rounds = 3;
  spec.job.min_clients = 3;
  spec.job.min_available_clients = 3;
  spec.job.seed = 3;
  spec.model.name = kSmallModel.string();
  spec.lora.lora_r = 4;
  spec.lora.lora_dropout = 0;
  spec.lora.lora_target_modules = {"q_proj", "v_proj", "down_proj"};
  spec.data.dataset = "passages";
  spec.data.seq_length = 32;
  spec.data.held_out_max_blocks = 4;
  spec.train.max_steps = 4;
  spec.train.learning_rate = 3e-3;
  spec.train.per_device_train_batch_size = 2;
  spec.compression = compression;
  return spec;
}

JobView RunSmall(const JobSpec& spec, const std::vector<std::string>& clients, int workers = 0) {
  const absl::StatusOr<JobDocument> document = DescribeJob(kSmallModel, spec);
  EXPECT_TRUE(document.ok()) << document.status();
  if (!document.ok()) return {};
  SimulationConfig config;
  config.spec = document->spec;
  config.base_model = kSmallModel;
  config.workers = workers;
  config.document = JobDocumentText(*document);
  PassageResources resources;
  const auto result = RunSimulation(
      config, clients, resources, [](const JobEvent&) {}, [](const JobView&) { return true; });
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? result->view : JobView();
}

JobView RunSmall(const CompressionSection& compression) {
  return RunSmall(SmallCodedJob(compression), {"ada", "bob", "cid"});
}

CompressionSection Compression(const std::string& codec, double fraction = 0.2) {
  CompressionSection compression;
  compression.codec = codec;
  compression.fraction = fraction;
  return compression;
}

class CodedSimulation : public testing::TestWithParam<CompressionSection> {};

TEST_P(CodedSimulation, LearnsWithFewerBytes) {
  const JobView view = RunSmall(GetParam());
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  ASSERT_EQ(view.evaluations.size(), 2u);
  RecordProperty("bytes_up", std::to_string(view.bytes_up));
  RecordProperty("raw_bytes_up", std::to_string(view.raw_bytes_up));
  RecordProperty("loss_before", std::to_string(view.evaluations[0].loss));
  RecordProperty("loss_after", std::to_string(view.evaluations[1].loss));
  EXPECT_LT(view.evaluations[1].loss, view.evaluations[0].loss - 0.05);
  EXPECT_LT(view.rounds[2].figures.loss, view.rounds[0].figures.loss);
  EXPECT_LT(view.bytes_up, 0.6 * static_cast<double>(view.raw_bytes_up));
}

INSTANTIATE_TEST_SUITE_P(Codecs, CodedSimulation,
                         testing::Values(Compression("bf16"), Compression("fp16"),
                                         Compression("int8"), Compression("int4"),
                                         Compression("int2"), Compression("sign"),
                                         Compression("top-k"), Compression("random-k"),
                                         Compression("public-top-k"), Compression("rotate-lattice"),
                                         Compression("low-rank"), Compression("count-sketch"),
                                         Compression("fed-obd", 0.4)),
                         [](const auto& info) {
                           std::string name = info.param.codec;
                           std::erase(name, '-');
                           return name;
                         });

// Stochastic rounding, error feedback and a support that depends on the state: all by seed.
TEST(CodedSimulations, CanBeRepeatedToTheLastBit) {
  for (const char* codec : {"int2", "public-top-k"}) {
    const JobView one = RunSmall(Compression(codec)), other = RunSmall(Compression(codec));
    EXPECT_EQ(one.state_hash.size(), 64u);
    EXPECT_EQ(one.state_hash, other.state_hash) << codec;
  }
}

JobSpec TwoPassJob() {
  CompressionSection compression = Compression("power-sgd");
  compression.rank = 2;
  JobSpec spec = SmallCodedJob(compression);
  spec.job.num_rounds = 6;  // three steps
  spec.job.min_clients = 4;
  spec.job.min_available_clients = 6;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  return spec;
}

std::vector<std::string> SixClients() { return {"ada1", "ada2", "bob1", "bob2", "cid1", "cid2"}; }

// More tasks at once than there are clients: a second pass trains nothing, and none may be done
// before its masks have begun.
TEST(MaskedSimulation, LearnsByPowerSgdInTwoSumsAStep) {
  const JobView view = RunSmall(TwoPassJob(), SixClients(), 16);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  ASSERT_EQ(view.rounds.size(), 6u);
  for (const RoundView& round : view.rounds) EXPECT_EQ(round.reported.size(), 6u);
  EXPECT_NE(view.rounds[1].state_hash, view.rounds[0].state_hash);
  EXPECT_EQ(view.rounds[2].state_hash, view.rounds[1].state_hash);
  EXPECT_LT(view.evaluations[1].loss, view.evaluations[0].loss - 0.05);
  EXPECT_LT(view.bytes_up, 0.6 * static_cast<double>(view.raw_bytes_up));
}

TEST(MaskedSimulation, OfTwoPassesCanBeRepeatedToTheLastBit) {
  JobSpec spec = TwoPassJob();
  spec.job.num_rounds = 4;
  spec.secure_aggregation.rotation = "off";
  const JobView one = RunSmall(spec, SixClients()), other = RunSmall(spec, SixClients());
  ASSERT_EQ(one.state, JobState::kFinished) << one.reason;
  EXPECT_EQ(one.state_hash.size(), 64u);
  EXPECT_EQ(one.state_hash, other.state_hash);
}

// Three sums of four clients each, and the median of their means.
JobSpec GroupedJob() {
  JobSpec spec = SmallCodedJob(Compression("int8"));
  spec.job.min_clients = 12;
  spec.job.min_available_clients = 12;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.robust.rule = "median";
  spec.robust.faulty = 1;
  spec.robust.groups = 3;
  return spec;
}

std::vector<std::string> Twelve() {
  std::vector<std::string> clients;
  for (const char* number : {"1", "2", "3", "4"}) {
    for (const char* name : {"ada", "bob", "cid"}) clients.push_back(name + std::string(number));
  }
  return clients;
}

TEST(MaskedSimulation, LearnsFromTheMedianOfGroups) {
  const JobView view = RunSmall(GroupedJob(), Twelve());
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  for (const RoundView& round : view.rounds) {
    EXPECT_EQ(round.reported.size(), 12u);
    EXPECT_TRUE(round.figures.left_out.empty());
  }
  EXPECT_LT(view.evaluations[1].loss, view.evaluations[0].loss - 0.05);
}

// Unrotated: nothing is keyed by the session. The groups are drawn by seed.
TEST(MaskedSimulation, OfGroupsCanBeRepeatedToTheLastBit) {
  JobSpec spec = GroupedJob();
  spec.job.num_rounds = 2;
  spec.secure_aggregation.rotation = "off";
  const JobView one = RunSmall(spec, Twelve()), other = RunSmall(spec, Twelve());
  EXPECT_EQ(one.state_hash.size(), 64u);
  EXPECT_EQ(one.state_hash, other.state_hash);
}

}  // namespace
}  // namespace rivulet
