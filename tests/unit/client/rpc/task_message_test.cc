#include "client/rpc/task_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rivulet {
namespace {

v1::Task WireTask() {
  v1::Task task;
  task.set_kind(v1::Task::KIND_TRAIN);
  task.set_state_sha256(std::string(32, 'h'));
  return task;
}

TEST(TaskMessage, ATrainingTaskBringsTheParametersOfItsMasks) {
  v1::Task wire = WireTask();
  EXPECT_EQ(AssignmentOf(wire)->masking, "");
  wire.set_masking(std::string(4096, 'p'));
  EXPECT_EQ(AssignmentOf(wire)->masking, wire.masking());
  wire.set_kind(v1::Task::KIND_EVALUATE);
  EXPECT_EQ(AssignmentOf(wire)->masking, "");
  wire.mutable_masking()->push_back('p');
  EXPECT_EQ(AssignmentOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TaskMessage, ALogHasAHashOnceItHasBytes) {
  v1::Task wire = WireTask();
  EXPECT_FALSE(AssignmentOf(wire)->log.has_value());
  wire.mutable_log();
  EXPECT_EQ(AssignmentOf(wire)->log, StateLog());
  wire.mutable_log()->set_bytes(24);
  wire.mutable_log()->set_from(3);
  EXPECT_EQ(AssignmentOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
  wire.mutable_log()->set_sha256(std::string(32, '\xab'));
  std::string hex;
  for (int byte = 0; byte < 32; ++byte) hex += "ab";
  EXPECT_EQ(AssignmentOf(wire)->log, (StateLog{hex, 24, 3}));
  wire.mutable_log()->set_bytes(0);
  EXPECT_EQ(AssignmentOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
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
    ASSERT_TRUE(AssignmentOf(wire).ok()) << AssignmentOf(wire).status();
    EXPECT_EQ(AssignmentOf(wire)->log->tail(), 124 - at);
  }
  for (const uint64_t at : {uint64_t{0}, uint64_t{99}, uint64_t{125}, UINT64_MAX}) {
    log.mutable_snapshot()->set_at(at);
    EXPECT_EQ(AssignmentOf(wire).status().code(), absl::StatusCode::kInvalidArgument) << at;
  }
  log.mutable_snapshot()->set_at(112);
  log.mutable_snapshot()->set_sha256("short");
  EXPECT_EQ(AssignmentOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
  log.clear_snapshot();
  log.set_from(UINT64_MAX - 23);  // its end would be 2^64
  EXPECT_EQ(AssignmentOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
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
