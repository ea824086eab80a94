#include "client/rpc/grpc_link.h"

#include <grpcpp/create_channel.h>
#include <spdlog/spdlog.h>

#include <mutex>
#include <stop_token>
#include <thread>

#include "client/rpc/task_message.h"
#include "client/rpc/transfers.h"
#include "common/rpc/chunk.h"
#include "common/rpc/credentials.h"
#include "common/rpc/status_mapping.h"
#include "common/utf8.h"
#include "privacy/crypto/pki_directory.h"

namespace rivulet {
namespace {

constexpr char kInsecureNameKey[] = "rivulet-insecure-name";
constexpr size_t kMaxText = 1000;

void Fill(const TaskKey& key, v1::TaskKey& wire) {
  wire.set_job(key.job);
  wire.set_round(key.round);
  wire.set_attempt(key.attempt);
}

v1::AgentMessage HelloOf(const AgentFacts& facts) {
  v1::AgentMessage message;
  v1::Hello& hello = *message.mutable_hello();
  hello.set_protocol_min(kProtocolMin);
  hello.set_protocol_max(kProtocolMax);
  hello.set_software("rivulet-client " RIVULET_VERSION);
  for (const std::string& name : facts.datasets) hello.add_datasets(name);
  for (const std::string& hash : facts.base_models) hello.add_base_models(hash);
  hello.set_memory_bytes(facts.memory_bytes);
  hello.set_cores(facts.cores);
  return message;
}

// One connection: its channel, its long stream, the thread that reads it, its transfers.
class Connection {
 public:
  using Stream = grpc::ClientReaderWriter<v1::AgentMessage, v1::CoordinatorMessage>;

  Connection(std::shared_ptr<grpc::Channel> channel, std::string insecure_uri)
      : stub_(v1::Federation::NewStub(channel)), insecure_uri_(std::move(insecure_uri)) {}
  ~Connection() { Stop(); }

  void Start(const AgentFacts& facts, CoordinatorLink::Sink sink) {
    Name(context_);
    stream_ = stub_->Connect(&context_);
    Write(HelloOf(facts));
    reader_ = std::thread([this, sink = std::move(sink)] { Read(sink); });
  }

  void Write(const v1::AgentMessage& message) {
    const std::lock_guard lock(write_mutex_);
    stream_->Write(message);  // a failure shows where the stream is read
  }

  uint64_t Expect(const TaskKey& key) {
    const std::lock_guard lock(expected_mutex_);
    expected_[++sequence_] = key;
    return sequence_;
  }
  // Afterwards the sink is not called any more. From any thread but the reader's.
  void Stop() {
    stop_.request_stop();
    context_.TryCancel();
    const std::lock_guard lock(join_mutex_);
    if (reader_.joinable()) reader_.join();
  }

  // A call beside the stream, which ends with it and with `stop`.
  absl::Status Transfer(
      std::stop_token stop,
      const std::function<absl::Status(v1::Federation::Stub&, grpc::ClientContext&)>& call) {
    grpc::ClientContext context;
    Name(context);
    const auto cancel = [&context] { context.TryCancel(); };
    const std::stop_callback on_stop(std::move(stop), cancel);
    const std::stop_callback on_close(stop_.get_token(), cancel);
    return call(*stub_, context);
  }

 private:
  void Name(grpc::ClientContext& context) const {
    if (!insecure_uri_.empty()) context.AddMetadata(kInsecureNameKey, insecure_uri_);
  }

  void Read(const CoordinatorLink::Sink& sink) {
    v1::CoordinatorMessage message;
    while (stream_->Read(&message)) Take(message, sink);
    const absl::Status status = FromGrpc(stream_->Finish(), context_);
    sink(StreamLost{status.ok() ? absl::UnavailableError("the stream ended") : status});
  }

  void Take(const v1::CoordinatorMessage& message, const CoordinatorLink::Sink& sink) {
    if (message.has_welcome()) {
      sink(Welcomed{message.welcome().epoch(),
                    std::chrono::seconds(std::max(message.welcome().heartbeat_seconds(), 1u))});
    } else if (message.has_task()) {
      if (absl::StatusOr<Assignment> task = AssignmentOf(message.task(), document_); task.ok()) {
        sink(Assigned{*std::move(task)});
      } else {
        Decline(message.task(), task.status());
      }
    } else if (message.has_cancel()) {
      sink(Cancelled{KeyOf(message.cancel().key()), Tidy(message.cancel().reason(), kMaxText)});
    } else if (message.has_drain()) {
      sink(Drained{std::chrono::milliseconds(
          std::min<uint64_t>(message.drain().reconnect_after_ms(), 3'600'000))});
    } else if (message.has_masking()) {
      if (absl::StatusOr<MaskingArrived> masking = MaskingArrivedOf(message.masking());
          masking.ok()) {
        sink(*std::move(masking));
      } else {
        spdlog::warn("coordinator: {}; dropped", std::string(masking.status().message()));
      }
    } else if (message.has_acknowledgement()) {
      Answered(message.acknowledgement(), sink);
    }
  }

  // A task that cannot be begun: the round must not wait for it. Nobody waits for the answer, which
  // is why it has no sequence number.
  void Decline(const v1::Task& task, const absl::Status& why) {
    v1::AgentMessage message;
    v1::Failure& failure = *message.mutable_failure();
    *failure.mutable_key() = task.key();
    failure.set_code("failed");
    failure.set_text(Tidy(std::string(why.message()), kMaxText));
    Write(message);
  }

  void Answered(const v1::Acknowledgement& wire, const CoordinatorLink::Sink& sink) {
    std::optional<TaskKey> key;
    {
      const std::lock_guard lock(expected_mutex_);
      const auto row = expected_.find(wire.sequence());
      if (row == expected_.end()) return;
      key = row->second;
      expected_.erase(row);
    }
    const auto code = static_cast<absl::StatusCode>(wire.code());
    const absl::Status status =
        wire.code() == 0
            ? absl::OkStatus()
            : Refuse(code, wire.message(), static_cast<Remedy>(std::min(wire.remedy(), 3u)));
    sink(Reported{*key, status});
  }

  const std::unique_ptr<v1::Federation::Stub> stub_;
  const std::string insecure_uri_;
  grpc::ClientContext context_;
  std::unique_ptr<Stream> stream_;
  KeptDocument document_;  // of this stream; the reader's alone
  std::mutex write_mutex_;
  std::mutex expected_mutex_;
  uint64_t sequence_ = 0;
  std::map<uint64_t, TaskKey> expected_;
  std::stop_source stop_;
  std::mutex join_mutex_;
  std::thread reader_;
};

class GrpcLink final : public CoordinatorLink {
 public:
  explicit GrpcLink(LinkConfig config) : config_(std::move(config)) {}

  void Open(const AgentFacts& facts, Sink sink) override {
    Close();
    absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = MakeChannel();
    if (!channel.ok()) return sink(StreamLost{channel.status()});
    auto next = std::make_shared<Connection>(*channel, config_.insecure_uri);
    next->Start(facts, std::move(sink));
    const std::lock_guard lock(mutex_);
    connection_ = std::move(next);
  }

  void Close() override {
    if (const auto connection = Current()) connection->Stop();
  }

  void Report(const Outcome& outcome) override {
    const auto connection = Current();
    if (connection == nullptr) return;
    v1::AgentMessage message;
    const uint64_t sequence = connection->Expect(outcome.key);
    if (outcome.kind == Outcome::Kind::kEvaluated) {
      v1::Evaluation& wire = *message.mutable_evaluation();
      wire.set_sequence(sequence);
      Fill(outcome.key, *wire.mutable_key());
      wire.set_loss_fixed(outcome.loss_fixed);
      wire.set_counted(outcome.counted);
      wire.set_correct(outcome.correct);
    } else {
      v1::Failure& wire = *message.mutable_failure();
      wire.set_sequence(sequence);
      Fill(outcome.key, *wire.mutable_key());
      wire.set_code(outcome.code);
      wire.set_text(outcome.text);
    }
    connection->Write(message);
  }

  void SendMasking(const TaskKey& key, const std::string& bytes) override {
    const auto connection = Current();
    if (connection == nullptr) return;
    v1::AgentMessage message;
    Fill(key, *message.mutable_masking()->mutable_key());
    message.mutable_masking()->set_message(bytes);
    connection->Write(message);
  }

  void Beat(const std::string& activity) override {
    const auto connection = Current();
    if (connection == nullptr) return;
    v1::AgentMessage message;
    message.mutable_heartbeat()->set_activity(activity);
    connection->Write(message);
  }

  absl::Status Download(const std::string& sha256, uint64_t bytes,
                        const std::filesystem::path& partial, std::stop_token stop,
                        uint64_t from) override {
    const auto connection = Current();
    if (connection == nullptr) return absl::UnavailableError("not connected");
    return connection->Transfer(std::move(stop),
                                [&](v1::Federation::Stub& stub, grpc::ClientContext& context) {
                                  return DownloadBlob(stub, context, sha256, bytes, partial, from);
                                });
  }

  absl::Status Upload(const Outcome& outcome, std::string_view file) override {
    const auto connection = Current();
    if (connection == nullptr) return absl::UnavailableError("not connected");
    return connection->Transfer({}, [&](v1::Federation::Stub& stub, grpc::ClientContext& context) {
      return UploadUpdate(stub, context, outcome, file);
    });
  }

 private:
  std::shared_ptr<Connection> Current() {
    const std::lock_guard lock(mutex_);
    return connection_;
  }

  absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel() const {
    std::shared_ptr<grpc::ChannelCredentials> credentials;
    if (config_.insecure_uri.empty()) {
      RV_ASSIGN_OR_RETURN(Credentials files, ReadValidCredentials(config_.tls, true));
      credentials = MutualTlsClient(
          {std::move(files.key_pem), std::move(files.chain_pem), std::move(files.roots_pem)});
    } else {
      RV_RETURN_IF_ERROR(CheckInsecureAddress(config_.coordinator));
      credentials = grpc::InsecureChannelCredentials();
    }
    grpc::ChannelArguments limits = ChannelLimits();
    limits.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a new one dials anew
    return grpc::CreateCustomChannel(config_.coordinator, credentials, limits);
  }

  const LinkConfig config_;
  std::mutex mutex_;
  std::shared_ptr<Connection> connection_;
};

}  // namespace

std::unique_ptr<CoordinatorLink> NewGrpcLink(LinkConfig config) {
  return std::make_unique<GrpcLink>(std::move(config));
}

}  // namespace rivulet
