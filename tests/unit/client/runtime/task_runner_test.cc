#include "client/runtime/task_runner.h"

#include <gtest/gtest.h>

#include "common/formats/safetensors_writer.h"
#include "common/job/job_model.h"

namespace rivulet {
namespace {

const std::string kModel = std::string(RIVULET_SOURCE_DIR) + "/simulations/models/llama-7m";

const Manifest& SmallManifest() {
  static const Manifest manifest = {{"a", DType::kF32, {2}}};
  return manifest;
}

// Counts those alive: each stands for a base model in memory.
class CountedTuner final : public Tuner {
 public:
  explicit CountedTuner(int& alive) : alive_(alive) { ++alive_; }
  ~CountedTuner() override { --alive_; }
  absl::StatusOr<TuneResult> Tune(const TuneRequest& request) override {
    TuneResult result;
    result.delta = *request.global;
    return result;
  }
  absl::StatusOr<EvaluationSums> Evaluate(const ParameterSet&, std::span<const Example>) override {
    return EvaluationSums();
  }
  const Manifest& manifest() const override { return SmallManifest(); }

 private:
  int& alive_;
};

class OneModel final : public LocalResources {
 public:
  absl::StatusOr<std::filesystem::path> BaseModel(const JobSpec&, const std::string&) override {
    return kModel;
  }
  absl::StatusOr<ClientData> Data(const std::string&, const JobSpec&, const Tokenizer&,
                                  int) override {
    ++reads;
    return ClientData();
  }
  int reads = 0;
};

std::string DocumentOf(uint64_t seed) {
  JobSpec spec;
  spec.data.dataset = "notes";
  spec.data.seq_length = 64;
  spec.job.seed = seed;
  const auto document = DescribeJob(kModel, spec);
  EXPECT_TRUE(document.ok()) << document.status();
  return JobDocumentText(*document);
}

class TaskRunnerTest : public testing::Test {
 protected:
  void Train(const std::string& document, uint64_t round) {
    const std::string state = SafetensorsBytes(ParameterSet(SmallManifest()));
    const auto update = runner_.Train({"ann", document, round}, state, {});
    ASSERT_TRUE(update.ok()) << update.status();
  }
  int loads_ = 0, alive_ = 0;
  OneModel resources_;
  TaskRunner runner_{resources_,
                     [this](const auto&, const auto&) -> absl::StatusOr<std::unique_ptr<Tuner>> {
                       ++loads_;
                       EXPECT_EQ(alive_, 0);  // the one before has left the memory
                       return std::make_unique<CountedTuner>(alive_);
                     }};
};

TEST_F(TaskRunnerTest, AJobOfAHundredRoundsLoadsItsModelAndItsDataOnce) {
  const std::string document = DocumentOf(1);
  for (uint64_t round = 1; round <= 100; ++round) Train(document, round);
  EXPECT_EQ(loads_, 1);
  EXPECT_EQ(resources_.reads, 1);
}

TEST_F(TaskRunnerTest, OneJobAfterAnotherLeavesOneInMemory) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Train(DocumentOf(seed), 1);
    EXPECT_EQ(alive_, 1);
  }
  EXPECT_EQ(loads_, 3);
}

}  // namespace
}  // namespace rivulet
