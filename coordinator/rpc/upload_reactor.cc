#include <spdlog/spdlog.h>

#include <mutex>
#include <optional>
#include <utility>

#include "common/rpc/chunk.h"
#include "common/rpc/hash_bytes.h"
#include "common/rpc/status_mapping.h"
#include "coordinator/rpc/reactors.h"

namespace rivulet {
namespace {

UpdateHeader HeaderOf(const v1::UploadBegin& begin) {
  UpdateHeader header;
  header.job_id = begin.key().job();
  header.round = begin.key().round();
  header.attempt = begin.key().attempt();
  header.sha256 = HexOfBytes(begin.sha256());
  header.bytes = begin.bytes();
  header.examples = begin.examples();
  header.tokens = begin.tokens();
  header.steps = begin.steps();
  header.loss = begin.loss();
  header.grad_norm = begin.grad_norm();
  return header;
}

absl::Status CheckBegin(const v1::UploadMessage& message) {
  if (!message.has_begin()) {
    return Refuse(absl::StatusCode::kInvalidArgument, "first message: want the update's header",
                  Remedy::kLeaveRun);
  }
  if (message.begin().sha256().size() != 32) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "sha256: got " + std::to_string(message.begin().sha256().size()) + " bytes, want 32",
        Remedy::kLeaveRun);
  }
  return absl::OkStatus();
}

// begin -> committed offset -> chunks -> half-close -> receipt. While a worker stores one message
// the next one is read, and no more: memory is two chunks. Each step runs in a worker; its last act
// goes on to the next message or ends the call, after which the object may be gone.
class UploadReactor final : public grpc::ServerBidiReactor<v1::UploadMessage, v1::UploadReply> {
 public:
  UploadReactor(ServiceContext& service, grpc::CallbackServerContext& context)
      : service_(service), context_(context) {
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    arrived_ = ok;
    if (!working_) StartStep();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the agent is gone"));
    if (done_) return End(absl::OkStatus());
    GoOn();
  }

  void OnDone() override {
    if (turn_ != 0) service_.upload_turns.End(caller_.name, turn_);
    delete this;
  }

 private:
  // With mutex_ held and a message there: hands it to a worker and reads the next one meanwhile.
  void StartStep() {
    working_ = true;
    const bool ok = *std::exchange(arrived_, std::nullopt);
    std::swap(message_, current_);
    // Behind the header nothing comes before the answer to it; behind the end nothing at all.
    if (ok && begun_) StartRead(&message_);
    service_.workers.Post([this, ok] {
      if (context_.IsCancelled()) return End(absl::CancelledError("the agent is gone"));
      absl::Status status = CheckTurn();
      if (status.ok()) status = ok ? Take() : Complete();
      if (!status.ok()) End(status);
    });
  }

  // This step is over.
  void GoOn() {
    const std::lock_guard lock(mutex_);
    working_ = false;
    if (arrived_.has_value()) StartStep();
  }

  // One upload at a time and agent: this one has ended once the agent began another.
  absl::Status CheckTurn() const {
    if (turn_ == 0 || service_.upload_turns.IsLatest(caller_.name, turn_)) return absl::OkStatus();
    return Refuse(absl::StatusCode::kAborted, "a newer upload of '" + caller_.name + "' began",
                  Remedy::kRetryLater);
  }

  absl::Status Take() { return session_ == nullptr ? Begin() : Append(); }

  absl::Status Begin() {
    RV_ASSIGN_OR_RETURN(caller_, service_.Caller(context_, Rpc::kUpload));
    RV_RETURN_IF_ERROR(CheckBegin(current_));
    RV_ASSIGN_OR_RETURN(session_,
                        service_.federation.BeginUpload(caller_.name, HeaderOf(current_.begin())));
    turn_ = service_.upload_turns.Begin(caller_.name);
    if (const std::optional<Receipt> receipt = session_->receipt()) return Answer(*receipt);
    const uint64_t committed = session_->committed();
    reply_.set_committed(committed);
    if (committed > 0) ++service_.traffic.uploads_resumed;
    {
      const std::lock_guard lock(mutex_);
      begun_ = true;
    }
    StartRead(&message_);
    StartWrite(&reply_);
    return absl::OkStatus();
  }

  absl::Status Append() {
    const v1::Chunk& chunk = current_.chunk();
    if (!current_.has_chunk() || chunk.data().empty() || chunk.data().size() > kChunkBytes) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "chunk: got " + std::to_string(chunk.data().size()) + " bytes, want 1.." +
                        std::to_string(kChunkBytes),
                    Remedy::kLeaveRun);
    }
    RV_RETURN_IF_ERROR(session_->Append(
        chunk.offset(), std::as_bytes(std::span(chunk.data().data(), chunk.data().size()))));
    service_.traffic.uplink_bytes += chunk.data().size();
    GoOn();
    return absl::OkStatus();
  }

  absl::Status Complete() {
    if (session_ == nullptr) {
      return Refuse(absl::StatusCode::kInvalidArgument, "got nothing, want an update's header",
                    Remedy::kLeaveRun);
    }
    absl::StatusOr<Receipt> receipt = session_->Finish();
    if (!receipt.ok()) {
      ++service_.traffic.uploads_rejected;
      spdlog::warn("update of {} refused: {}", caller_.name,
                   std::string(receipt.status().message()));
      return receipt.status();
    }
    ++service_.traffic.uploads_accepted;
    return Answer(*receipt);
  }

  absl::Status Answer(const Receipt& receipt) {
    v1::Receipt& wire = *reply_.mutable_receipt();
    wire.mutable_key()->set_job(receipt.job_id);
    wire.mutable_key()->set_round(receipt.round);
    wire.mutable_key()->set_attempt(receipt.attempt);
    wire.set_sha256(BytesOfHex(receipt.sha256));
    wire.set_bytes(receipt.bytes);
    done_ = true;
    StartWrite(&reply_);
    return absl::OkStatus();
  }

  // Once: of a failed step and a failed write only the first counts.
  void End(const absl::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(ended_, true)) return;
    }
    Finish(ToGrpc(status, context_));
  }

  ServiceContext& service_;
  grpc::CallbackServerContext& context_;
  Identity caller_;
  std::shared_ptr<UploadSession> session_;
  uint64_t turn_ = 0;          // 0: not begun
  v1::UploadMessage current_;  // of the step under way
  v1::UploadReply reply_;
  bool done_ = false;

  std::mutex mutex_;             // of what follows
  v1::UploadMessage message_;    // being read
  std::optional<bool> arrived_;  // it is there, or the peer has sent all; not taken yet
  bool working_ = false;
  bool begun_ = false;  // the header was taken: chunks may come
  bool ended_ = false;
};

}  // namespace

grpc::ServerBidiReactor<v1::UploadMessage, v1::UploadReply>* NewUploadReactor(
    ServiceContext& service, grpc::CallbackServerContext& context) {
  return new UploadReactor(service, context);
}

}  // namespace rivulet
