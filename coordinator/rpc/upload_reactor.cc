#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "common/rpc/hash_bytes.h"
#include "common/rpc/status_mapping.h"
#include "coordinator/rpc/reactors.h"
#include "coordinator/rpc/upload_wire.h"

namespace rivulet {
namespace {

// begin -> committed offset -> chunks -> half-close -> receipt, or, where the file is in begin, the
// receipt at once. While a worker stores one message the next one is read, and no more: memory is
// two chunks. Each step runs in a worker; its last act goes on to the next message or ends the
// call. Messages come as bytes, so that a chunk goes from the buffers of the network to hash and
// disk without a copy.
class UploadReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                            public WatchedUpload,
                            public std::enable_shared_from_this<UploadReactor> {
 public:
  using Clock = std::chrono::steady_clock;

  UploadReactor(ServiceContext& service, grpc::CallbackServerContext& context)
      : service_(service), context_(context) {}

  void Start() {
    self_ = shared_from_this();
    service_.uploads.Watch(self_);
    const std::lock_guard lock(mutex_);
    ReadNext();
  }

  void OnReadDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    arrived_ = ok;
    pace_.StopWaiting(Clock::now());
    if (!working_) StartStep();
  }

  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      writing_since_.reset();
    }
    if (!ok) return End(absl::CancelledError("the agent is gone"));
    if (done_) return End(absl::OkStatus());
    GoOn(0);
  }

  void OnDone() override {
    if (turn_ != 0) service_.uploads.End(caller_.name, turn_);
    service_.uploads.Forget(*this);
    self_.reset();
  }

  void CutIfSlow(Clock::time_point now) override {
    absl::Status status;
    bool stuck = false;
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      status = CheckPeer(now);
      if (status.ok()) return;
      ended_ = true;
      stuck = writing_since_.has_value();
    }
    spdlog::warn("upload of {} cut: {}", caller_.name.empty() ? "an unnamed caller" : caller_.name,
                 std::string(status.message()));
    // The status would wait behind the answer for the peer to read.
    if (stuck) context_.TryCancel();
    Finish(ToGrpc(status, context_));
  }

 private:
  // With mutex_ held. Of the peer only while there is nothing but to wait for it.
  absl::Status CheckPeer(Clock::time_point now) const {
    const UploadLimits& limits = service_.uploads.limits();
    if (writing_since_.has_value() && now - *writing_since_ >= limits.silence) {
      return Refuse(absl::StatusCode::kDeadlineExceeded, "upload: the answer is not read",
                    Remedy::kRetryLater);
    }
    if (working_ || arrived_.has_value()) return absl::OkStatus();
    return pace_.Check(now, limits);
  }

  // With mutex_ held.
  void ReadNext() {
    pace_.StartWaiting(Clock::now());
    StartRead(&message_);
  }

  // With mutex_ held and a message there: hands it to a worker and reads the next one meanwhile.
  void StartStep() {
    working_ = true;
    const bool ok = *std::exchange(arrived_, std::nullopt);
    message_.Swap(&current_);
    // Behind the header nothing comes before the answer to it; behind the end nothing at all.
    if (ok && begun_) ReadNext();
    service_.workers.Post([this, self = shared_from_this(), ok] {
      if (context_.IsCancelled()) return End(absl::CancelledError("the agent is gone"));
      absl::Status status = CheckTurn();
      if (status.ok()) status = ok ? Take() : Complete();
      if (!status.ok()) End(status);
    });
  }

  // This step is over: it took so many bytes of the update.
  void GoOn(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    pace_.Count(bytes);
    working_ = false;
    if (arrived_.has_value()) StartStep();
  }

  // One upload at a time and agent: this one has ended once the agent began another.
  absl::Status CheckTurn() const {
    if (turn_ == 0 || service_.uploads.IsLatest(caller_.name, turn_)) return absl::OkStatus();
    return Refuse(absl::StatusCode::kAborted, "a newer upload of '" + caller_.name + "' began",
                  Remedy::kRetryLater);
  }

  absl::Status Take() { return session_ == nullptr ? Begin() : Append(); }

  absl::Status Begin() {
    RV_ASSIGN_OR_RETURN(caller_, service_.Caller(context_, Rpc::kUpload));
    RV_ASSIGN_OR_RETURN(const v1::UploadMessage message, ParseUploadMessage(current_));
    RV_ASSIGN_OR_RETURN(const UpdateHeader header, HeaderOf(message));
    RV_ASSIGN_OR_RETURN(session_, service_.federation.BeginUpload(caller_.name, header));
    if (const std::optional<Receipt> receipt = session_->receipt()) return Answer(*receipt);
    if (const std::string& data = message.begin().data(); !data.empty()) return TakeWhole(data);
    const uint64_t missing = header.bytes - std::min(header.bytes, session_->committed());
    RV_ASSIGN_OR_RETURN(turn_, service_.uploads.Begin(caller_.name, missing));
    // Asked again: only now an older upload of the agent's adds no more.
    const uint64_t committed = session_->committed();
    v1::UploadReply reply;
    reply.set_committed(committed);
    reply_ = WireOf(reply);
    if (committed > 0) ++service_.traffic.uploads_resumed;
    {
      const std::lock_guard lock(mutex_);
      begun_ = true;
      ReadNext();
    }
    Write();
    return absl::OkStatus();
  }

  // The whole file: of it nothing is in flight any more. What an earlier call left is not taken
  // twice; that it is of the same file the hash says.
  absl::Status TakeWhole(std::string_view file) {
    RV_ASSIGN_OR_RETURN(turn_, service_.uploads.Begin(caller_.name, 0));
    const uint64_t committed = std::min<uint64_t>(session_->committed(), file.size());
    if (committed > 0) ++service_.traffic.uploads_resumed;
    const auto rest = std::as_bytes(std::span(file.substr(committed)));
    if (!rest.empty()) RV_RETURN_IF_ERROR(session_->Append(committed, rest));
    service_.traffic.uplink_bytes += rest.size();
    return Complete();
  }

  absl::Status Append() {
    RV_ASSIGN_OR_RETURN(const WireChunk chunk, ReadWireChunk(current_));
    RV_RETURN_IF_ERROR(session_->AppendPieces(chunk.offset, chunk.pieces));
    service_.uploads.Arrived(turn_, chunk.bytes);
    service_.traffic.uplink_bytes += chunk.bytes;
    current_.Clear();
    GoOn(chunk.bytes);
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
    v1::UploadReply reply;
    v1::Receipt& wire = *reply.mutable_receipt();
    wire.mutable_key()->set_job(receipt.job_id);
    wire.mutable_key()->set_round(receipt.round);
    wire.mutable_key()->set_attempt(receipt.attempt);
    wire.set_sha256(BytesOfHex(receipt.sha256));
    wire.set_bytes(receipt.bytes);
    reply_ = WireOf(reply);
    done_ = true;
    Write();
    return absl::OkStatus();
  }

  // gRPC may say that the answer is written while this is still in StartWrite: the lock has who
  // hears of it wait for the end.
  void Write() {
    const std::lock_guard lock(mutex_);
    writing_since_ = Clock::now();
    StartWrite(&reply_);
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
  std::shared_ptr<UploadReactor> self_;  // until OnDone
  Identity caller_;
  std::shared_ptr<UploadSession> session_;
  uint64_t turn_ = 0;         // 0: not begun
  grpc::ByteBuffer current_;  // of the step under way
  grpc::ByteBuffer reply_;
  bool done_ = false;

  std::mutex mutex_;             // of what follows
  grpc::ByteBuffer message_;     // being read
  std::optional<bool> arrived_;  // it is there, or the peer has sent all; not taken yet
  UploadPace pace_;
  std::optional<Clock::time_point> writing_since_;  // an answer that was not taken yet
  bool working_ = false;
  bool begun_ = false;  // the header was taken: chunks may come
  bool ended_ = false;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* NewUploadReactor(
    ServiceContext& service, grpc::CallbackServerContext& context) {
  const auto reactor = std::make_shared<UploadReactor>(service, context);
  reactor->Start();
  return reactor.get();  // holds itself until its call is over
}

}  // namespace rivulet
