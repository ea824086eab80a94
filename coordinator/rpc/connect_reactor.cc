#include <spdlog/spdlog.h>

#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "common/rpc/chunk.h"
#include "common/rpc/status_mapping.h"
#include "common/utf8.h"
#include "coordinator/rpc/reactors.h"

namespace rivulet {
namespace {

constexpr int kMaxNames = 256;
constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMaxCodeBytes = 64;
constexpr size_t kMaxJobIdBytes = 64;
constexpr size_t kMaxTextBytes = 1024;
constexpr size_t kMaxQueued = 1024;  // messages; a peer that reads nothing is dropped
constexpr int kMaxPending = 64;      // reports being made durable; reading waits above

absl::Status Bad(std::string_view what) {
  return Refuse(absl::StatusCode::kInvalidArgument, what, Remedy::kLeaveRun);
}

template <typename Names>
absl::Status CheckNames(std::string_view what, const Names& names) {
  if (names.size() > kMaxNames) {
    return Bad(std::string(what) + ": got " + std::to_string(names.size()) +
               " names, want at most 256");
  }
  for (const std::string& name : names) {
    if (name.empty() || name.size() > kMaxNameBytes) {
      return Bad(std::string(what) + ": got a name of " + std::to_string(name.size()) +
                 " bytes, want 1..128");
    }
  }
  return absl::OkStatus();
}

// Job ids come back in answers: none of them may be long.
absl::Status CheckJobId(const v1::TaskKey& key) {
  if (key.job().size() <= kMaxJobIdBytes) return absl::OkStatus();
  return Bad("key.job: got " + std::to_string(key.job().size()) + " bytes, want at most 64");
}

absl::Status CheckHello(const v1::Hello& hello) {
  if (hello.protocol_min() > kProtocolMax || hello.protocol_max() < kProtocolMin) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "protocol: the agent speaks " + std::to_string(hello.protocol_min()) + ".." +
                      std::to_string(hello.protocol_max()) + ", the coordinator " +
                      std::to_string(kProtocolMin) + ".." + std::to_string(kProtocolMax),
                  Remedy::kLeaveRun);
  }
  RV_RETURN_IF_ERROR(CheckNames("datasets", hello.datasets()));
  return CheckNames("base_models", hello.base_models());
}

ClientFacts FactsOf(const Identity& caller, const v1::Hello& hello) {
  ClientFacts facts;
  facts.name = caller.name;
  facts.datasets = {hello.datasets().begin(), hello.datasets().end()};
  facts.base_models = {hello.base_models().begin(), hello.base_models().end()};
  facts.memory_bytes = hello.memory_bytes();
  facts.cores = static_cast<int>(std::min<uint32_t>(hello.cores(), 4096));
  facts.version = Tidy(hello.software(), kMaxNameBytes);
  return facts;
}

// Reads in gRPC's order of events, so OnReadDone never runs twice at once; writes come from any
// thread through the queue. A report on its way to the disk keeps the object alive.
class ConnectReactor final
    : public grpc::ServerBidiReactor<v1::AgentMessage, v1::CoordinatorMessage>,
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
    if (const absl::Status status = Take(incoming_); !status.ok()) return End(status);
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

  // What is queued still goes out, then the stream ends.
  void End(const absl::Status& status) override {
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    ending_ = true;
    end_ = status;
    Advance();
  }

 private:
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

  absl::Status Take(const v1::AgentMessage& message) {
    if (!joined_) return Welcome(message);
    switch (message.kind_case()) {
      case v1::AgentMessage::kHeartbeat:
        Echo(message.heartbeat());
        return absl::OkStatus();
      case v1::AgentMessage::kFailure:
      case v1::AgentMessage::kEvaluation:
        return Post(message);
      default:
        return Bad("got a message that is neither heartbeat nor report");
    }
  }

  // Makes a report durable, then acknowledges it.
  absl::Status Post(const v1::AgentMessage& message) {
    const bool failure = message.has_failure();
    const uint64_t sequence =
        failure ? message.failure().sequence() : message.evaluation().sequence();
    RV_ASSIGN_OR_RETURN(ClientReport report, failure ? FailureOf(message.failure())
                                                     : EvaluationOf(message.evaluation()));
    {
      const std::lock_guard lock(mutex_);
      ++pending_;
    }
    service_.reports.Post(std::move(report),
                          [self = shared_from_this(), sequence](const absl::Status& status) {
                            self->Acknowledge(sequence, status);
                            self->Reported();
                          });
    return absl::OkStatus();
  }

  // False when too much waits for the disk: Reported() reads on then.
  bool MayRead() {
    const std::lock_guard lock(mutex_);
    paused_ = pending_ >= kMaxPending;
    return !paused_;
  }

  void Reported() {
    const std::lock_guard lock(mutex_);
    --pending_;
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
    const ClientFacts facts = FactsOf(caller_, hello);
    service_.streams.Join(
        facts, {caller_.organisation, facts.version, caller_.not_after_s, caller_.serial}, *this);
    spdlog::debug("agent {} connected", caller_.name);
    return absl::OkStatus();
  }

  void Echo(const v1::Heartbeat& heartbeat) {
    v1::CoordinatorMessage answer;
    answer.mutable_heartbeat()->set_sequence(heartbeat.sequence());
    Push(std::move(answer));
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

  absl::StatusOr<ClientReport> FailureOf(const v1::Failure& failure) const {
    if (failure.code().empty() || failure.code().size() > kMaxCodeBytes ||
        failure.text().size() > kMaxTextBytes) {
      return Bad("failure: want a code of 1..64 bytes and a text of at most 1024");
    }
    RV_RETURN_IF_ERROR(CheckJobId(failure.key()));
    ++service_.traffic.failures_reported;
    const v1::TaskKey& key = failure.key();
    return FailureRecord{key.job(),    key.round(),    key.attempt(),
                         caller_.name, failure.code(), failure.text()};
  }

  absl::StatusOr<ClientReport> EvaluationOf(const v1::Evaluation& evaluation) const {
    RV_RETURN_IF_ERROR(CheckJobId(evaluation.key()));
    const v1::TaskKey& key = evaluation.key();
    return EvaluationReportRecord{key.job(),
                                  key.round(),
                                  caller_.name,
                                  evaluation.loss_fixed(),
                                  evaluation.counted(),
                                  evaluation.correct()};
  }

  ServiceContext& service_;
  grpc::CallbackServerContext& context_;
  Identity caller_;
  v1::AgentMessage incoming_;
  bool joined_ = false;                   // read thread and OnDone only
  std::shared_ptr<ConnectReactor> self_;  // until OnDone

  std::mutex mutex_;  // of what follows
  std::deque<v1::CoordinatorMessage> outgoing_;
  bool writing_ = false;
  bool ending_ = false;
  bool finished_ = false;
  int pending_ = 0;
  bool paused_ = false;  // no read is under way
  absl::Status end_;
};

}  // namespace

grpc::ServerBidiReactor<v1::AgentMessage, v1::CoordinatorMessage>* NewConnectReactor(
    ServiceContext& service, grpc::CallbackServerContext& context) {
  const auto reactor = std::make_shared<ConnectReactor>(service, context);
  reactor->Start();
  return reactor.get();  // holds itself until its call is over
}

}  // namespace rivulet
