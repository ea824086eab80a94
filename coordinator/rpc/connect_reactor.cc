#include <grpcpp/impl/codegen/proto_utils.h>
#include <spdlog/spdlog.h>

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "common/rpc/chunk.h"
#include "common/rpc/status_mapping.h"
#include "coordinator/rpc/agent_message.h"
#include "coordinator/rpc/reactors.h"

namespace rivulet {
namespace {

constexpr size_t kMaxQueued = 1024;  // messages; a peer that reads nothing is dropped
constexpr int kMaxPending = 64;      // reports being made durable; reading waits above

absl::Status Bad(std::string_view what) {
  return Refuse(absl::StatusCode::kInvalidArgument, what, Remedy::kLeaveRun);
}

// Reads in gRPC's order of events, so OnReadDone never runs twice at once; writes come from any
// thread through the queue, as bytes, which many queues may share. A report on its way to the disk
// keeps the object alive.
class ConnectReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                             public AgentStream,
                             public std::enable_shared_from_this<ConnectReactor> {
 public:
  ConnectReactor(ServiceContext& service, grpc::CallbackServerContext& context)
      : service_(service), context_(context) {}

  void Start() {
    self_ = shared_from_this();
    absl::StatusOr<Identity> caller = service_.Caller(context_, Rpc::kConnect);
    if (caller.ok()) {
      caller_ = *std::move(caller);
      StartRead(&incoming_);
    } else {
      End(caller.status());
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(absl::OkStatus());
    // Revocation and expiry act on open streams too.
    if (const absl::Status still = service_.access.CheckAgain(caller_); !still.ok()) {
      ++service_.traffic.calls_denied;
      return End(still);
    }
    v1::AgentMessage message;
    if (!grpc::SerializationTraits<v1::AgentMessage>::Deserialize(&incoming_, &message).ok()) {
      return End(Bad("got bytes that are no message"));
    }
    if (const absl::Status status = Take(message); !status.ok()) return End(status);
    if (MayRead()) StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    outgoing_.pop_front();
    writing_ = false;
    if (!ok) outgoing_.clear();
    Advance();
  }

  void OnCancel() override { End(absl::CancelledError("the agent is gone")); }

  void OnDone() override {
    if (joined_) {
      service_.streams.Leave(caller_.name, *this);
      spdlog::debug("agent {} left", caller_.name);
    }
    self_.reset();
  }

  void Push(v1::CoordinatorMessage message) override {
    const std::lock_guard lock(mutex_);
    if (message.has_task()) DropKnownDocument(*message.mutable_task());
    Queue(ToBytes(message));
  }

  void PushBytes(const grpc::ByteBuffer& message) override {
    const std::lock_guard lock(mutex_);
    Queue(message);
  }

  // What is queued still goes out, then the stream ends.
  void End(const absl::Status& status) override {
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    ending_ = true;
    end_ = status;
    Advance();
  }

 private:
  // With mutex_ held.
  void Queue(grpc::ByteBuffer message) {
    if (ending_) return;
    if (outgoing_.size() >= kMaxQueued) {
      end_ = Refuse(absl::StatusCode::kResourceExhausted, "the agent reads nothing",
                    Remedy::kRetryLater);
      ending_ = true;
      context_.TryCancel();
      return;
    }
    outgoing_.push_back(std::move(message));
    Advance();
  }

  // With mutex_ held: the next write, or the end when nothing is left.
  void Advance() {
    if (writing_ || finished_) return;
    if (!outgoing_.empty()) {
      writing_ = true;
      StartWrite(&outgoing_.front());
    } else if (ending_) {
      finished_ = true;
      Finish(ToGrpc(end_, context_));
    }
  }

  // With mutex_ held. The agent keeps the last document that came on this stream, and what is
  // queued comes in its order, or the stream ends.
  void DropKnownDocument(v1::Task& task) {
    if (task.job_sha256() == document_sha256_) {
      task.clear_job_document();
    } else {
      document_sha256_ = task.job_sha256();
    }
  }

  absl::Status Take(const v1::AgentMessage& message) {
    if (!joined_) return Welcome(message);
    switch (message.kind_case()) {
      case v1::AgentMessage::kHeartbeat:
        return absl::OkStatus();  // it was looked at whether the caller may still be here
      case v1::AgentMessage::kFailure:
      case v1::AgentMessage::kEvaluation:
        return Post(message);
      case v1::AgentMessage::kMasking:
        return Mask(message.masking());
      default:
        return Bad("got a message that is neither heartbeat nor report nor of masks");
    }
  }

  // Makes a report durable, then acknowledges it.
  absl::Status Post(const v1::AgentMessage& message) {
    const bool failure = message.has_failure();
    const uint64_t sequence =
        failure ? message.failure().sequence() : message.evaluation().sequence();
    RV_ASSIGN_OR_RETURN(ClientReport report, ReportOf(message));
    if (failure) ++service_.traffic.failures_reported;
    {
      const std::lock_guard lock(mutex_);
      ++pending_;
    }
    service_.reports.Post(std::move(report),
                          [self = shared_from_this(), sequence](const absl::Status& status) {
                            self->Acknowledge(sequence, status);
                            self->Done(self->pending_);
                          });
    return absl::OkStatus();
  }

  absl::StatusOr<ClientReport> ReportOf(const v1::AgentMessage& message) const {
    if (message.has_failure()) return FailureOf(caller_.name, message.failure());
    return EvaluationOf(caller_.name, message.evaluation());
  }

  // A worker verifies and stores it. Only then the next message is read: an agent's messages stay
  // in their order, and one of them at most is in memory.
  absl::Status Mask(const v1::Masking& masking) {
    RV_ASSIGN_OR_RETURN(MaskingMessage message, MaskingMessageOf(masking));
    {
      const std::lock_guard lock(mutex_);
      masking_ = 1;
    }
    // May run when the call, and the service with it, is over.
    service_.workers.Post([self = shared_from_this(), &federation = service_.federation,
                           message = std::move(message)] {
      const absl::Status taken = federation.Masking(self->caller_.name, message);
      if (!taken.ok()) {
        spdlog::debug("masking of {}: {}", self->caller_.name, std::string(taken.message()));
      }
      self->Done(self->masking_);
    });
    return absl::OkStatus();
  }

  // False when too much waits for the disk, or masks for a worker: Done() reads on then.
  bool MayRead() {
    const std::lock_guard lock(mutex_);
    paused_ = pending_ >= kMaxPending || masking_ > 0;
    return !paused_;
  }

  void Done(int& under_way) {
    const std::lock_guard lock(mutex_);
    --under_way;
    if (pending_ >= kMaxPending || masking_ > 0) return;
    // Once the call is over nothing may be started on it.
    if (std::exchange(paused_, false) && !finished_) StartRead(&incoming_);
  }

  absl::Status Welcome(const v1::AgentMessage& message) {
    if (!message.has_hello()) return Bad("first message: want Hello");
    const v1::Hello& hello = message.hello();
    RV_RETURN_IF_ERROR(CheckHello(hello));
    if (service_.streams.draining()) {
      return Refuse(absl::StatusCode::kUnavailable, "the coordinator stops", Remedy::kRetryLater);
    }
    v1::CoordinatorMessage answer;
    v1::Welcome& welcome = *answer.mutable_welcome();
    welcome.set_protocol(std::min(hello.protocol_max(), kProtocolMax));
    welcome.set_epoch(service_.federation.epoch());
    welcome.set_software("rivulet-coordinator " RIVULET_VERSION);
    welcome.set_federation(caller_.federation);
    welcome.set_heartbeat_seconds(service_.heartbeat_seconds);
    Push(std::move(answer));  // before Join: it may push tasks
    joined_ = true;
    ++service_.traffic.streams_opened;
    const ClientFacts facts = FactsOf(caller_, hello, service_.access.LeafOf(context_));
    service_.streams.Join(
        facts, {caller_.organisation, facts.version, caller_.not_after_s, caller_.serial}, *this);
    spdlog::debug("agent {} connected", caller_.name);
    return absl::OkStatus();
  }

  void Acknowledge(uint64_t sequence, const absl::Status& status) {
    v1::CoordinatorMessage answer;
    v1::Acknowledgement& acknowledgement = *answer.mutable_acknowledgement();
    acknowledgement.set_sequence(sequence);
    acknowledgement.set_code(static_cast<uint32_t>(status.code()));
    acknowledgement.set_message(std::string(status.message()));
    acknowledgement.set_remedy(static_cast<uint32_t>(RemedyOf(status)));
    Push(std::move(answer));
  }

  ServiceContext& service_;
  grpc::CallbackServerContext& context_;
  Identity caller_;
  grpc::ByteBuffer incoming_;
  bool joined_ = false;                   // read thread and OnDone only
  std::shared_ptr<ConnectReactor> self_;  // until OnDone

  std::mutex mutex_;  // of what follows
  std::deque<grpc::ByteBuffer> outgoing_;
  std::string document_sha256_;  // of the last one queued; 32 bytes
  bool writing_ = false;
  bool ending_ = false;
  bool finished_ = false;
  int pending_ = 0;      // reports on their way to the disk
  int masking_ = 0;      // messages of masks on their way through a worker, 0 or 1
  bool paused_ = false;  // no read is under way
  absl::Status end_;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* NewConnectReactor(
    ServiceContext& service, grpc::CallbackServerContext& context) {
  const auto reactor = std::make_shared<ConnectReactor>(service, context);
  reactor->Start();
  return reactor.get();  // holds itself until its call is over
}

}  // namespace rivulet
