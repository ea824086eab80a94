#include "client/rpc/task_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/io/sha256.h"
#include "common/rpc/hash_bytes.h"

namespace rivulet {
namespace {

void SetDocument(v1::Task& task, const std::string& document) {
  task.set_job_document(document);
  task.set_job_sha256(BytesOfHex(Sha256Hex(document)));
}

v1::Task WireTask() {
  v1::Task task;
  task.set_kind(v1::Task::KIND_TRAIN);
  task.set_state_sha256(std::string(32, 'h'));
  SetDocument(task, "{}");
  return task;
}

absl::StatusOr<Assignment> TaskOf(const v1::Task& wire) {
  KeptDocument none;
  return AssignmentOf(wire, none);
}

TEST(TaskMessage, ATrainingTaskBringsTheParametersOfItsMasks) {
  v1::Task wire = WireTask();
  EXPECT_EQ(TaskOf(wire)->masking, "");
  wire.set_masking(std::string(4096, 'p'));
  EXPECT_EQ(TaskOf(wire)->masking, wire.masking());
  wire.set_kind(v1::Task::KIND_EVALUATE);
  EXPECT_EQ(TaskOf(wire)->masking, "");
  wire.mutable_masking()->push_back('p');
  EXPECT_EQ(TaskOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TaskMessage, ATrainingTaskBringsTheChoiceOfItsDirections) {
  v1::Task wire = WireTask();
  EXPECT_EQ(TaskOf(wire)->choice, "");
  wire.set_choice(std::string("\0\7", 2));
  EXPECT_EQ(TaskOf(wire)->choice, wire.choice());
}

TEST(TaskMessage, WithoutDocumentMeansTheLastOneOfTheStream) {
  KeptDocument kept;
  v1::Task wire = WireTask();
  ASSERT_TRUE(AssignmentOf(wire, kept).ok());
  wire.clear_job_document();
  for (int time = 0; time < 2; ++time) {
    const auto task = AssignmentOf(wire, kept);
    ASSERT_TRUE(task.ok()) << task.status();
    EXPECT_EQ(task->job_document, "{}");
  }
}

TEST(TaskMessage, OfTwoJobsInTurnOnlyTheLastDocumentIsKept) {
  KeptDocument kept;
  v1::Task first = WireTask(), second = WireTask();
  SetDocument(second, "{2}");
  EXPECT_EQ(AssignmentOf(first, kept)->job_document, "{}");
  EXPECT_EQ(AssignmentOf(second, kept)->job_document, "{2}");
  second.clear_job_document();
  EXPECT_EQ(AssignmentOf(second, kept)->job_document, "{2}");
  v1::Task bare = first;
  bare.clear_job_document();
  const absl::Status refused = AssignmentOf(bare, kept).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.message(), "task: got no job document and the hash '" + Sha256Hex("{}") +
                                   "', want that of the last document on this stream: '" +
                                   Sha256Hex("{2}") + "'");
  EXPECT_EQ(AssignmentOf(second, kept)->job_document, "{2}") << "what was kept stays";
  EXPECT_EQ(AssignmentOf(first, kept)->job_document, "{}");
}

TEST(TaskMessage, ADocumentThatIsMissingOrOfAnotherHashIsRefused) {
  KeptDocument kept;
  v1::Task missing = WireTask();
  missing.clear_job_document();
  EXPECT_EQ(AssignmentOf(missing, kept).status().code(), absl::StatusCode::kInvalidArgument);
  missing.clear_job_sha256();  // as an older coordinator would send it
  EXPECT_EQ(AssignmentOf(missing, kept).status().message(),
            "task: got a job document's hash of 0 bytes, want 32");
  v1::Task other = WireTask();
  other.set_job_document("{2}");
  EXPECT_EQ(AssignmentOf(other, kept).status().message(), "task: got a job document of hash '" +
                                                              Sha256Hex("{2}") + "', want '" +
                                                              Sha256Hex("{}") + "'");
  other.clear_job_document();
  EXPECT_FALSE(AssignmentOf(other, kept).ok()) << "a refused one is not kept";
  other.set_job_sha256(std::string(33, 'h'));
  EXPECT_FALSE(AssignmentOf(other, kept).ok());
  SetDocument(other, std::string((4 << 20) + 1, ' '));
  EXPECT_EQ(AssignmentOf(other, kept).status().message(),
            "task: got a job document of 4194305 bytes, want at most 4194304");
}

TEST(TaskMessage, TheDocumentOfATaskThatIsRefusedForSomethingElseIsKept) {
  KeptDocument kept;
  v1::Task wire = WireTask();
  wire.set_state_sha256("short");
  EXPECT_FALSE(AssignmentOf(wire, kept).ok());
  wire.set_state_sha256(std::string(32, 'h'));
  wire.clear_job_document();
  EXPECT_EQ(AssignmentOf(wire, kept)->job_document, "{}");
}

TEST(TaskMessage, ALogHasAHashOnceItHasBytes) {
  v1::Task wire = WireTask();
  EXPECT_FALSE(TaskOf(wire)->log.has_value());
  wire.mutable_log();
  EXPECT_EQ(TaskOf(wire)->log, StateLog());
  wire.mutable_log()->set_bytes(24);
  wire.mutable_log()->set_from(3);
  EXPECT_EQ(TaskOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
  wire.mutable_log()->set_sha256(std::string(32, '\xab'));
  std::string hex;
  for (int byte = 0; byte < 32; ++byte) hex += "ab";
  EXPECT_EQ(TaskOf(wire)->log, (StateLog{hex, 24, 3}));
  wire.mutable_log()->set_bytes(0);
  EXPECT_EQ(TaskOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TaskMessage, ALogBringsItsEndUpToTheLimit) {
  v1::Task wire = WireTask();
  v1::StateLog& log = *wire.mutable_log();
  log.set_sha256(std::string(32, 'l'));
  log.set_bytes(5000);
  log.set_rest(std::string(4096, 'r'));
  ASSERT_TRUE(TaskOf(wire).ok());
  EXPECT_EQ(TaskOf(wire)->log->rest, log.rest());
  log.set_rest(std::string(4097, 'r'));
  EXPECT_EQ(TaskOf(wire).status().message(),
            "task: got a log of 5000 bytes from 0 on with 4097 of them, want at most 4096");
  log.set_bytes(3);
  log.set_rest("four");
  EXPECT_EQ(TaskOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TaskMessage, ASnapshotStandsInItsLog) {
  v1::Task wire = WireTask();
  v1::StateLog& log = *wire.mutable_log();
  log.set_sha256(std::string(32, 'l'));
  log.set_bytes(24);
  log.set_from(100);
  log.mutable_snapshot()->set_sha256(std::string(32, 's'));
  log.mutable_snapshot()->set_bytes(9);
  for (const uint64_t at : {100, 112, 124}) {
    log.mutable_snapshot()->set_at(at);
    ASSERT_TRUE(TaskOf(wire).ok()) << TaskOf(wire).status();
    EXPECT_EQ(TaskOf(wire)->log->tail(), 124 - at);
  }
  for (const uint64_t at : {uint64_t{0}, uint64_t{99}, uint64_t{125}, UINT64_MAX}) {
    log.mutable_snapshot()->set_at(at);
    EXPECT_EQ(TaskOf(wire).status().code(), absl::StatusCode::kInvalidArgument) << at;
  }
  log.mutable_snapshot()->set_at(112);
  log.mutable_snapshot()->set_sha256("short");
  EXPECT_EQ(TaskOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
  log.clear_snapshot();
  log.set_from(UINT64_MAX - 23);  // its end would be 2^64
  EXPECT_EQ(TaskOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TaskMessage, MasksAreTakenUpToTheirLimits) {
  v1::Masking wire;
  wire.mutable_key()->set_job("job");
  wire.set_message(std::string(2 << 20, 'm'));
  for (int member = 0; member < 256; ++member) wire.add_certificates(std::string(4096, 'c'));
  const auto taken = MaskingArrivedOf(wire);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(taken->key.job, "job");
  EXPECT_EQ(taken->bytes, wire.message());
  EXPECT_EQ(taken->certificates.size(), 256u);
  v1::Masking large = wire;
  large.mutable_message()->push_back('m');
  EXPECT_EQ(MaskingArrivedOf(large).status().code(), absl::StatusCode::kInvalidArgument);
  large = wire;
  large.add_certificates("c");
  EXPECT_EQ(MaskingArrivedOf(large).status().code(), absl::StatusCode::kInvalidArgument);
  large = wire;
  large.mutable_certificates(255)->push_back('c');
  EXPECT_EQ(MaskingArrivedOf(large).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rivulet
