#include "client/agent/task_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/agent/failure_report.h"
#include "common/formats/safetensors_writer.h"
#include "common/job/job_model.h"
#include "tests/unit/client/agent/masked_cohort.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

const std::string kBase = std::string(RIVULET_SOURCE_DIR) + "/simulations/models/llama-7m";

class TaskCheckTest : public testing::Test {
 protected:
  void SetUp() override { Describe({}); }
  void Describe(JobSpec spec) {
    spec.model.name = "llama-7m";
    spec.data.dataset = "notes";
    spec.data.seq_length = 64;
    const auto document = DescribeJob(kBase, spec);
    ASSERT_TRUE(document.ok()) << document.status();
    task_.job_document = JobDocumentText(*document);
    task_.state_bytes = SafetensorsBytes(ParameterSet(JobModelOf(*document)->plan.wire())).size();
    policy_.base_models[document->base_hash] = {};
    policy_.datasets["notes"] = "notes.jsonl";
  }
  Policy policy_;
  Assignment task_;
};

TEST_F(TaskCheckTest, TheStateOfTheJobIsTaken) {
  EXPECT_TRUE(CheckTask(policy_, task_).ok()) << CheckTask(policy_, task_);
}

TEST_F(TaskCheckTest, AStateLargerThanTheJobsTensorsIsRefusedWithBothSizes) {
  for (const uint64_t bytes : {task_.state_bytes + (1 << 20), ~uint64_t{0}}) {
    task_.state_bytes = bytes;
    const FailureReport report = ReportOf(CheckTask(policy_, task_));
    EXPECT_EQ(report.code, "failed");
    EXPECT_THAT(report.text, HasSubstr("state of " + std::to_string(bytes) + " bytes, want at"));
  }
}

// It is fetched beside a state, however long: a pool's log is one record.
TEST_F(TaskCheckTest, ALogLongerThanAPoolsRecordIsRefused) {
  JobSpec spec;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.max_grad_norm = 0;
  spec.scalars.enabled = true;
  spec.scalars.pool = 4096;
  Describe(spec);
  task_.log = StateLog{.bytes = 8 + 4 * 4096};
  EXPECT_TRUE(CheckTask(policy_, task_).ok()) << CheckTask(policy_, task_);
  task_.log->bytes = uint64_t{1} << 50;
  EXPECT_THAT(ReportOf(CheckTask(policy_, task_)).text,
              HasSubstr("got a log of 1125899906842624 bytes, want at most 16400"));
}

TEST_F(TaskCheckTest, AMeanOfAFirstPassIsNoLongerThanAState) {
  JobSpec spec;
  spec.job.num_rounds = 2;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.compression.codec = "power-sgd";
  Describe(spec);
  task_.key.round = 2;
  task_.masking = "parameters";
  task_.log = StateLog{.bytes = task_.state_bytes / 2};
  EXPECT_TRUE(CheckTask(policy_, task_).ok()) << CheckTask(policy_, task_);
  task_.log->bytes = uint64_t{1} << 50;
  EXPECT_THAT(ReportOf(CheckTask(policy_, task_)).text, HasSubstr("got a mean of a first pass of"));
}

TEST_F(TaskCheckTest, ASnapshotAndTheLogSinceAreNoLongerThanAState) {
  JobSpec spec;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.max_grad_norm = 0;
  spec.train.max_steps = 1;
  spec.scalars.enabled = true;
  Describe(spec);
  task_.log = StateLog{.bytes = task_.state_bytes};
  task_.log->snapshot = StateSnapshot{.bytes = task_.state_bytes};
  EXPECT_TRUE(CheckTask(policy_, task_).ok()) << CheckTask(policy_, task_);
  task_.log->snapshot->bytes = uint64_t{1} << 50;
  EXPECT_THAT(ReportOf(CheckTask(policy_, task_)).text, HasSubstr("got a snapshot of 11258999"));
  task_.log->snapshot->bytes = 1;
  task_.log->bytes = uint64_t{1} << 50;
  EXPECT_THAT(ReportOf(CheckTask(policy_, task_)).text,
              HasSubstr("got a log since its snapshot of 11258999"));
}

// Or a coordinator would get in the clear what the job hides from it.
TEST_F(TaskCheckTest, AMaskedJobIsDoneUnderMasksAlone) {
  task_.masking = "parameters";
  EXPECT_THAT(ReportOf(CheckTask(policy_, task_)).text,
              HasSubstr("got masks, but secure-aggregation.enabled = false"));
  task_.job_document = JobDocumentText(MaskedDocument());
  task_.state_bytes = 1024;
  task_.key.round = 1;
  EXPECT_TRUE(CheckTask(policy_, task_).ok()) << CheckTask(policy_, task_);
  task_.masking.clear();
  EXPECT_THAT(ReportOf(CheckTask(policy_, task_)).text, HasSubstr("got no masks"));
  task_.kind = Assignment::Kind::kEvaluate;
  EXPECT_TRUE(CheckTask(policy_, task_).ok()) << CheckTask(policy_, task_);
}

// Or there would be draws of groups without end.
TEST_F(TaskCheckTest, UnderMasksThereIsNoRoundBeyondTheJobs) {
  const JobDocument document = MaskedDocument();
  const auto rounds = static_cast<uint64_t>(document.spec.job.num_rounds);
  task_.job_document = JobDocumentText(document);
  task_.state_bytes = 1024;
  task_.masking = "parameters";
  for (const uint64_t round : {uint64_t{1}, rounds}) {
    task_.key.round = round;
    EXPECT_TRUE(CheckTask(policy_, task_).ok()) << CheckTask(policy_, task_);
  }
  for (const uint64_t round : {uint64_t{0}, rounds + 1, ~uint64_t{0}}) {
    task_.key.round = round;
    const FailureReport report = ReportOf(CheckTask(policy_, task_));
    EXPECT_EQ(report.code, "failed");
    EXPECT_THAT(report.text, HasSubstr("got round " + std::to_string(round) + " under masks"));
  }
}

TEST_F(TaskCheckTest, ThePolicyIsAsked) {
  policy_.datasets.clear();
  EXPECT_EQ(ReportOf(CheckTask(policy_, task_)).code, "refused_policy");
  task_.job_document = "{";
  EXPECT_EQ(CheckTask(policy_, task_).code(), absl::StatusCode::kInvalidArgument);
}

TEST(DiskReport, AFullDiskIsNoLackOfMemory) {
  const absl::Status full = absl::ResourceExhaustedError("/state/x: write: No space left");
  EXPECT_EQ(ReportOf(full).code, "out_of_memory");
  EXPECT_EQ(ReportOf(OfTheDisk(full)).code, "disk_full");
  EXPECT_EQ(ReportOf(OfTheDisk(full)).text, "the agent's disk is full");
  EXPECT_EQ(ReportOf(OfTheDisk(absl::InternalError("read"))).code, "failed");
}

}  // namespace
}  // namespace rivulet
