#include "client/runtime/task_work.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <fstream>

#include "client/agent/failure_report.h"
#include "common/formats/safetensors_writer.h"
#include "common/job/job_model.h"
#include "tests/unit/scratch.h"

// Real work on the 7M model: what becomes of bad data and of a model that changed.

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

const fs::path kModelFolder = fs::path(RIVULET_SOURCE_DIR) / "simulations/models/llama-7m";

class TaskWorkTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = ScratchFolder();
    fs::copy(kModelFolder, folder_ / "model");
    spec_.model.name = "llama-7m";
    spec_.data.dataset = "notes";
    spec_.data.format = "jsonl";
    spec_.data.template_name = "prompt-completion";
    spec_.data.packing = false;
    spec_.data.seq_length = 64;
    spec_.train.max_steps = 1;
    spec_.job.min_clients = 1;
    std::ofstream(folder_ / "policy.toml") << "[[base-model]]\npath = \"model\"\n"
                                              "[[dataset]]\nname = \"notes\"\npath = \"n.jsonl\"\n";
    const auto policy = LoadPolicy(folder_ / "policy.toml");
    ASSERT_TRUE(policy.ok()) << policy.status();
    policy_ = *policy;
    work_ = NewTaskWork(policy_, "ann", folder_);
  }

  absl::StatusOr<WorkResult> Train() {
    const JobDocument document = *DescribeJob(kModelFolder, spec_);
    const Manifest manifest = JobModelOf(document)->plan.wire();
    Assignment task;
    task.key = {"job", round_, 1};
    task.job_document = JobDocumentText(document);
    const auto state =
        std::make_shared<const std::string>(SafetensorsBytes(ParameterSet(manifest)));
    return work_->Do(task, state, [] { return false; });
  }
  void WriteData(const std::string& text) { std::ofstream(folder_ / "n.jsonl") << text; }

  uint64_t round_ = 1;
  fs::path folder_;
  JobSpec spec_;
  Policy policy_;
  std::unique_ptr<LocalWork> work_;
};

constexpr char kGood[] = "{\"prompt\": \"Say hello.\", \"completion\": \"hello\"}\n";
constexpr char kBad[] = "{\"prompt\": \"the patient's name\"}\n";

TEST_F(TaskWorkTest, AMalformedRecordIsReportedByNameAndLineAlone) {
  WriteData(std::string(kGood) + kBad);
  const absl::Status status = Train().status();
  EXPECT_THAT(std::string(status.message()), HasSubstr((folder_ / "n.jsonl").string() + ":2: "));
  const FailureReport report = ReportOf(status);
  EXPECT_EQ(report.code, "bad_data");
  EXPECT_EQ(report.text, "data set 'notes' line 2: a record or setting that does not fit the job");
}

TEST_F(TaskWorkTest, AMissingFileIsReportedWithoutItsPath) {
  const absl::Status status = Train().status();
  EXPECT_THAT(std::string(status.message()), HasSubstr((folder_ / "n.jsonl").string()));
  const FailureReport report = ReportOf(status);
  EXPECT_EQ(report.code, "bad_data");
  EXPECT_EQ(report.text, "data set 'notes': the file is missing");
}

TEST_F(TaskWorkTest, SkippedRecordsAreCountedAndListedInTheLogOfTheAgentOnce) {
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  spec_.data.skip_malformed = true;
  spec_.data.held_out_fraction = 0;
  WriteData(std::string(kGood) + kBad + kGood + kBad);
  const auto result = Train();
  const std::string first = log.str();
  EXPECT_TRUE(Train().ok());
  spdlog::set_default_logger(before);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome.examples, 2);
  EXPECT_THAT(first, HasSubstr("data set 'notes': 2 malformed records skipped, 2 used"));
  EXPECT_THAT(first, HasSubstr((folder_ / "n.jsonl").string() + ":2: "));
  EXPECT_THAT(first, HasSubstr((folder_ / "n.jsonl").string() + ":4: "));
  EXPECT_EQ(log.str(), first);
}

TEST_F(TaskWorkTest, AModelThatChangedSinceItWasHashedIsReported) {
  WriteData(kGood);
  std::fstream weights(folder_ / "model" / "model.safetensors",
                       std::ios::in | std::ios::out | std::ios::binary);
  weights.seekp(-1, std::ios::end);
  weights.put('\x5a');
  weights.close();
  const absl::Status status = Train().status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kPolicy) << status;
  const FailureReport report = ReportOf(status);
  EXPECT_EQ(report.code, "wrong_model");
  EXPECT_THAT(report.text, Not(HasSubstr(folder_.string())));
}

TEST_F(TaskWorkTest, AModelThatWasOnlyTouchedIsHashedAgainAndUsed) {
  WriteData(kGood);
  spec_.data.held_out_fraction = 0;
  fs::last_write_time(folder_ / "model" / "model.safetensors", fs::file_time_type::clock::now());
  const auto result = Train();
  EXPECT_TRUE(result.ok()) << result.status();
}

// privacy.mechanism = "example": what an earlier process spent of the data set is spent.
TEST_F(TaskWorkTest, ThePrivacyBudgetOfADataSetOutlivesTheProcess) {
  WriteData(kGood);
  spec_.data.held_out_fraction = 0;
  spec_.strategy.weighting = "uniform";
  spec_.privacy.mechanism = "example";
  spec_.privacy.noise_multiplier = 1;  // one example, q = 1: epsilon 4.38, twice 6.6 at 1e-5
  spec_.privacy.target_epsilon = 5;
  ASSERT_TRUE(Train().ok());
  work_.reset();
  work_ = NewTaskWork(policy_, "ann", folder_);
  round_ = 2;
  const absl::Status status = Train().status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kBudget) << status;
  EXPECT_EQ(ReportOf(status).text, "data set 'notes': its privacy budget is spent");
}

}  // namespace
}  // namespace rivulet
