#include "client/rpc/task_message.h"

#include "common/rpc/hash_bytes.h"

namespace rivulet {
namespace {

constexpr uint64_t kMaxDocument = uint64_t{4} << 20;

}  // namespace

TaskKey KeyOf(const v1::TaskKey& wire) { return {wire.job(), wire.round(), wire.attempt()}; }

absl::StatusOr<Assignment> AssignmentOf(const v1::Task& wire) {
  if (wire.kind() != v1::Task::KIND_TRAIN && wire.kind() != v1::Task::KIND_EVALUATE) {
    return Refuse(absl::StatusCode::kUnimplemented,
                  "task: got kind " + std::to_string(wire.kind()) + ", want 1 or 2");
  }
  if (wire.state_sha256().size() != 32 || wire.job_document().size() > kMaxDocument) {
    return Refuse(absl::StatusCode::kInvalidArgument, "task: hash or document of a wrong size");
  }
  Assignment task;
  task.kind =
      wire.kind() == v1::Task::KIND_TRAIN ? Assignment::Kind::kTrain : Assignment::Kind::kEvaluate;
  task.key = KeyOf(wire.key());
  task.job_document = wire.job_document();
  task.state_sha256 = HexOfBytes(wire.state_sha256());
  task.state_bytes = wire.state_bytes();
  task.epoch = wire.epoch();
  return task;
}

}  // namespace rivulet
