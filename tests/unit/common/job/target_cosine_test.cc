#include "common/job/target_cosine.h"

#include <gtest/gtest.h>

#include "common/job/job_file.h"
#include "common/job/job_model.h"

namespace rivulet {
namespace {

constexpr char kLlama[] = RIVULET_SOURCE_DIR "/simulations/models/llama-7m";

// Rank 1 on q_proj and v_proj of llama-7m: 7,168 trained numbers.
JobSpec Targeted(double cosine) {
  JobSpec spec;
  spec.model.name = "llama-7m";
  spec.lora.lora_r = 1;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.max_steps = 1;
  spec.train.target_cosine = cosine;
  spec.scalars.enabled = true;
  return spec;
}

int QueriesOf(const JobSpec& spec) {
  const auto document = DescribeJob(kLlama, spec);
  EXPECT_TRUE(document.ok()) << document.status();
  return document.ok() ? document->spec.train.queries : 0;
}

// Worked by hand, rounded up in binary64: the second is 12288 exactly, and 0.2 is a little more
// than 0.2.
TEST(TargetCosine, DirectionsAreThoseOfTheTable) {
  EXPECT_EQ(DirectionsFor(294912, 0.1), 2979);
  EXPECT_EQ(DirectionsFor(294912, 0.2), 12289);
  EXPECT_EQ(DirectionsFor(262144, 0.1), 2648);
  EXPECT_EQ(DirectionsFor(262144, 0.2), 10923);
  EXPECT_EQ(DirectionsFor(4194304, 0.1), 42367);
  EXPECT_EQ(DirectionsFor(4194304, 0.2), 174763);
}

// 7168 * 0.01 / 0.99 = 72.4: 73 directions. All clients of [scalars] share them, so that only steps
// divide them; otherwise each client has its own.
TEST(TargetCosine, QueriesAreTheDirectionsOverStepsAndClients) {
  JobSpec spec = Targeted(0.1);
  EXPECT_EQ(QueriesOf(spec), 73);
  spec.job.clients_per_round = 4;
  EXPECT_EQ(QueriesOf(spec), 73);
  spec.train.max_steps = 5;
  EXPECT_EQ(QueriesOf(spec), 15);
  spec.scalars.enabled = false;
  EXPECT_EQ(QueriesOf(spec), 4);
  spec.job.clients_per_round = 40;
  EXPECT_EQ(QueriesOf(spec), 1);
  spec.train.estimator = "fzoo";  // one loss has no spread
  EXPECT_EQ(QueriesOf(spec), 2);
}

// What submit sends and a run folder holds describes the same job again.
TEST(TargetCosine, AFilledInJobStaysAsItIs) {
  const auto document = DescribeJob(kLlama, Targeted(0.1));
  ASSERT_TRUE(document.ok()) << document.status();
  const auto read = ParseJob(JobToml(document->spec), "job.toml");
  ASSERT_TRUE(read.ok()) << read.status();
  const auto again = DescribeJob(kLlama, read->spec);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(JobHash(*again), JobHash(*document));
  EXPECT_TRUE(JobModelOf(*document).ok());
}

TEST(TargetCosine, QueriesOfOnesOwnAreAConflict) {
  JobSpec spec = Targeted(0.1);
  spec.train.queries = 20;
  const absl::Status status = DescribeJob(kLlama, spec).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_EQ(status.message(),
            "train.target-cosine = 0.1 and train.queries = 20: the target asks for 73 queries "
            "along 7168 trained numbers; want one of the two keys");
}

TEST(TargetCosine, ADocumentWithOtherQueriesIsRefused) {
  auto document = DescribeJob(kLlama, Targeted(0.1));
  ASSERT_TRUE(document.ok()) << document.status();
  document->spec.train.queries = 72;
  const absl::Status status = JobModelOf(*document).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_EQ(status.message(),
            "train.queries: got 72, want 73, which train.target-cosine = 0.1 asks for");
}

// 7168 * 0.9801 / 0.0199 = 353,034 with the roundings of binary64.
TEST(TargetCosine, MoreQueriesThanAStepMayHaveAreRefused) {
  JobSpec spec = Targeted(0.99);
  const absl::Status status = DescribeJob(kLlama, spec).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_EQ(std::string(status.message())
                .find("train.target-cosine = 0.99: got 353034.0 directions "
                      "for 7168 trained numbers"),
            0u)
      << status;
  spec.train.max_steps = 10;
  EXPECT_EQ(QueriesOf(spec), 35304);
}

}  // namespace
}  // namespace rivulet
