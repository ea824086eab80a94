#include "client/rpc/task_message.h"

#include <algorithm>

#include "common/io/sha256.h"
#include "common/rpc/chunk.h"
#include "common/rpc/hash_bytes.h"

namespace rivulet {
namespace {

constexpr uint64_t kMaxDocument = uint64_t{4} << 20;
constexpr size_t kMaxParameters = 4 << 10;
constexpr size_t kMaxMasking = 2 << 20;
constexpr int kMaxCertificates = 256;
constexpr size_t kMaxCertificate = 4 << 10;

absl::Status WrongLog(uint64_t from, uint64_t bytes, const std::string& what) {
  return Refuse(absl::StatusCode::kInvalidArgument, "task: got a log of " + std::to_string(bytes) +
                                                        " bytes from " + std::to_string(from) +
                                                        " on" + what);
}

absl::StatusOr<StateLog> LogOf(const v1::StateLog& wire) {
  const size_t hash = wire.bytes() > 0 ? 32 : 0;
  if (wire.sha256().size() != hash) {
    return WrongLog(wire.from(), wire.bytes(),
                    " with a hash of " + std::to_string(wire.sha256().size()) + " bytes, want " +
                        std::to_string(hash));
  }
  if (wire.bytes() > UINT64_MAX - wire.from()) {
    return WrongLog(wire.from(), wire.bytes(), ", want an end below 2^64");
  }
  if (const uint64_t most = std::min(wire.bytes(), kInlineLogBytes); wire.rest().size() > most) {
    return WrongLog(wire.from(), wire.bytes(),
                    " with " + std::to_string(wire.rest().size()) + " of them, want at most " +
                        std::to_string(most));
  }
  StateLog log{HexOfBytes(wire.sha256()), wire.bytes(), wire.from()};
  log.rest = wire.rest();
  if (!wire.has_snapshot()) return log;
  const v1::Snapshot& snapshot = wire.snapshot();
  if (snapshot.sha256().size() != 32 || snapshot.at() < log.from || snapshot.at() > log.end()) {
    return WrongLog(wire.from(), wire.bytes(),
                    " and a snapshot at " + std::to_string(snapshot.at()) + " with a hash of " +
                        std::to_string(snapshot.sha256().size()) + " bytes, want it there and 32");
  }
  log.snapshot = StateSnapshot{HexOfBytes(snapshot.sha256()), snapshot.bytes(), snapshot.at()};
  return log;
}

}  // namespace

TaskKey KeyOf(const v1::TaskKey& wire) { return {wire.job(), wire.round(), wire.attempt()}; }

absl::StatusOr<std::string> KeptDocument::Of(const v1::Task& wire) {
  if (wire.job_sha256().size() != 32) {
    return Refuse(absl::StatusCode::kInvalidArgument, "task: got a job document's hash of " +
                                                          std::to_string(wire.job_sha256().size()) +
                                                          " bytes, want 32");
  }
  const std::string want = HexOfBytes(wire.job_sha256());
  if (wire.job_document().empty()) {
    if (wire.job_sha256() == sha256_) return document_;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "task: got no job document and the hash '" + want +
                      "', want that of the last document on this stream: '" + HexOfBytes(sha256_) +
                      "'");
  }
  if (wire.job_document().size() > kMaxDocument) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "task: got a job document of " + std::to_string(wire.job_document().size()) +
                      " bytes, want at most " + std::to_string(kMaxDocument));
  }
  const std::string got = Sha256Hex(wire.job_document());
  if (got != want) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "task: got a job document of hash '" + got + "', want '" + want + "'");
  }
  sha256_ = wire.job_sha256();
  document_ = wire.job_document();
  return document_;
}

absl::StatusOr<Assignment> AssignmentOf(const v1::Task& wire, KeptDocument& kept) {
  // First: the coordinator does not send it again, whatever becomes of this task.
  absl::StatusOr<std::string> document = kept.Of(wire);
  if (wire.kind() != v1::Task::KIND_TRAIN && wire.kind() != v1::Task::KIND_EVALUATE) {
    return Refuse(absl::StatusCode::kUnimplemented,
                  "task: got kind " + std::to_string(wire.kind()) + ", want 1 or 2");
  }
  RV_RETURN_IF_ERROR(document.status());
  if (wire.state_sha256().size() != 32) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "task: got a state's hash of " + std::to_string(wire.state_sha256().size()) +
                      " bytes, want 32");
  }
  if (wire.masking().size() > kMaxParameters) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "task: got " + std::to_string(wire.masking().size()) +
                      " bytes of masking parameters, want at most 4096");
  }
  Assignment task;
  task.kind =
      wire.kind() == v1::Task::KIND_TRAIN ? Assignment::Kind::kTrain : Assignment::Kind::kEvaluate;
  task.key = KeyOf(wire.key());
  task.job_document = *std::move(document);
  task.state_sha256 = HexOfBytes(wire.state_sha256());
  task.state_bytes = wire.state_bytes();
  task.epoch = wire.epoch();
  task.choice = wire.choice();  // which the job's form checks
  if (wire.has_log()) {
    RV_ASSIGN_OR_RETURN(task.log, LogOf(wire.log()));
  }
  if (task.kind == Assignment::Kind::kTrain) task.masking = wire.masking();
  return task;
}

absl::StatusOr<MaskingArrived> MaskingArrivedOf(const v1::Masking& wire) {
  const auto large = [](const std::string& certificate) {
    return certificate.size() > kMaxCertificate;
  };
  if (wire.message().size() > kMaxMasking || wire.certificates_size() > kMaxCertificates ||
      std::any_of(wire.certificates().begin(), wire.certificates().end(), large)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "masking: got " + std::to_string(wire.message().size()) + " bytes and " +
                      std::to_string(wire.certificates_size()) +
                      " certificates, want at most 2 MiB and 256 of at most 4 KiB");
  }
  return MaskingArrived{
      KeyOf(wire.key()), wire.message(), {wire.certificates().begin(), wire.certificates().end()}};
}

}  // namespace rivulet
