#include "client/agent/task_check.h"
#include "client/rpc/task_message.h"
#include "common/io/sha256.h"
#include "common/rpc/hash_bytes.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

namespace {

// An owner who allows what the task asks for: the checks behind the policy are wanted too.
Policy PolicyFor(const Assignment& task) {
  Policy policy;
  if (const auto document = ParseJobDocument(task.job_document); document.ok()) {
    policy.base_models[document->base_hash];
    policy.datasets[document->spec.data.dataset];
  }
  return policy;
}

void CheckMasking(const v1::Masking& wire) {
  const auto arrived = MaskingArrivedOf(wire);
  if (!arrived.ok()) return;
  Require(arrived->bytes.size() <= size_t{2} << 20 && arrived->certificates.size() <= 256);
  for (const std::string& pem : arrived->certificates) Require(pem.size() <= 4096);
}

// Of the first task of a stream.
void CheckDocument(const v1::Task& wire) {
  Require(!wire.job_document().empty() &&
          HexOfBytes(wire.job_sha256()) == Sha256Hex(wire.job_document()));
}

}  // namespace

// What a coordinator sends to an agent: a message of secure aggregation is refused or of bounded
// size; a task is refused, or has the document that its hash names, and a hash and a state of
// bounded size.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  v1::CoordinatorMessage message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return 0;
  if (message.has_masking()) CheckMasking(message.masking());
  if (!message.has_task()) return 0;
  KeptDocument kept;
  if (AssignmentOf(message.task(), kept).ok()) CheckDocument(message.task());
  // No search finds a hash: with the right one it goes on.
  v1::Task& wire = *message.mutable_task();
  wire.set_job_sha256(BytesOfHex(Sha256Hex(wire.job_document())));
  const auto task = AssignmentOf(wire, kept);
  if (!task.ok()) return 0;
  Require(task->job_document == wire.job_document());
  Require(task->state_sha256.size() == 64);
  if (task->log) Require(task->log->sha256.size() == (task->log->bytes > 0 ? 64 : 0));
  if (task->log) {
    Require(task->log->rest.size() <= std::min<uint64_t>(task->log->bytes, 4096));
    Require(task->log->Brought(task->log->bytes - task->log->rest.size()) == task->log->rest);
  }
  if (task->log && task->log->snapshot) {
    const StateSnapshot& snapshot = *task->log->snapshot;
    Require(snapshot.sha256.size() == 64 && task->log->end() >= task->log->from);
    Require(snapshot.at >= task->log->from && task->log->tail() <= task->log->bytes);
  }
  Require(!CheckTask(Policy(), *task).ok());
  if (CheckTask(PolicyFor(*task), *task).ok()) {
    Require(task->state_bytes <= uint64_t{1} << 50);
    if (task->log && task->log->snapshot) Require(task->log->snapshot->bytes <= uint64_t{1} << 50);
  }
  return 0;
}
