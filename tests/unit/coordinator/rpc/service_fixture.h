#pragma once

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>

#include "client/rpc/grpc_link.h"
#include "common/io/file.h"
#include "common/rpc/chunk.h"
#include "common/rpc/hash_bytes.h"
#include "common/rpc/status_mapping.h"
#include "coordinator/cli/operator_client.h"
#include "coordinator/rpc/server.h"
#include "privacy/crypto/key.h"
#include "privacy/crypto/pki_directory.h"
#include "tests/unit/coordinator/rounds/toy_federation.h"
#include "tests/unit/scratch.h"

// The services over mTLS on loopback, with the toy job: one tensor of a little over three chunks.

namespace rivulet {

namespace fs = std::filesystem;
using testing::HasSubstr;

inline const Manifest& BigManifest() {
  static const Manifest manifest = {{"a", DType::kF32, {800'000}}};  // 3.05 MiB
  return manifest;
}

// What a link's sink was given.
class Inbox {
 public:
  void Put(SessionEvent event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    arrived_.notify_all();
  }
  // The latest event of this kind that `fits`; empty after a minute.
  template <typename T>
  std::optional<T> Take(const std::function<bool(const T&)>& fits = [](const T&) { return true; }) {
    std::unique_lock lock(mutex_);
    std::optional<T> found;
    arrived_.wait_for(lock, std::chrono::minutes(1), [&] {
      for (const SessionEvent& event : events_) {
        if (const T* match = std::get_if<T>(&event); match != nullptr && fits(*match)) {
          found = *match;
        }
      }
      return found.has_value();
    });
    return found;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<SessionEvent> events_;
};

inline v1::AgentMessage Hello() {
  v1::AgentMessage message;
  message.mutable_hello()->set_protocol_min(kProtocolMin);
  message.mutable_hello()->set_protocol_max(kProtocolMax);
  return message;
}

inline v1::UploadMessage BeginOf(const Outcome& outcome) {
  v1::UploadMessage message;
  v1::UploadBegin& begin = *message.mutable_begin();
  begin.mutable_key()->set_job(outcome.key.job);
  begin.mutable_key()->set_round(outcome.key.round);
  begin.mutable_key()->set_attempt(outcome.key.attempt);
  begin.set_sha256(BytesOfHex(outcome.sha256));
  begin.set_bytes(outcome.bytes);
  begin.set_examples(1);
  begin.set_tokens(10);
  begin.set_steps(1);
  return message;
}

// A coordinator's server on loopback with its own PKI, over a federation on memory stores.
class LoopbackTest : public testing::Test {
 protected:
  void Start(FederationConfig config) {
    folder_ = ScratchFolder();
    ASSERT_TRUE(InitPki({.federation = "demo"}, folder_ / "pki").ok());
    config.background = false;
    federation_ = std::make_unique<Federation>(config, *states_, *blobs_, streams_, clock_);
    streams_.Attach(*federation_);
    ASSERT_TRUE(federation_->Recover().ok());
    reports_ = std::make_unique<ReportQueue>(*federation_);
    service_.reset(new ServiceContext{*federation_, *blobs_, streams_, access_, workers_, *reports_,
                                      traffic_, 15, upload_limits_});
    const Credentials tls = *ReadCredentials(folder_ / "pki" / "coordinator");
    auto server = CoordinatorServer::Start(
        {{"127.0.0.1:0"}, TlsFiles{tls.key_pem, tls.chain_pem, tls.roots_pem}}, *service_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void TearDown() override { server_.reset(); }

  std::string address() const { return "127.0.0.1:" + std::to_string(server_->ports()[0]); }

  OperatorSettings AsOperator() const {
    OperatorSettings settings;
    settings.coordinator = address();
    settings.tls_dir = (folder_ / "pki" / "operator").string();
    return settings;
  }
  std::shared_ptr<grpc::Channel> OperatorChannel() {
    const Credentials files = *ReadCredentials(folder_ / "pki" / "operator");
    return grpc::CreateCustomChannel(
        address(), MutualTlsClient({files.key_pem, files.chain_pem, files.roots_pem}),
        ChannelLimits());
  }

  fs::path folder_;
  std::unique_ptr<StateStore> states_ = MakeMemoryStateStore();
  std::unique_ptr<BlobStore> blobs_ = MakeMemoryBlobStore();
  VirtualClock clock_;
  AgentStreams streams_;
  Access access_{"demo", false};
  WorkerPool workers_{2};
  Traffic traffic_;
  UploadLimits upload_limits_;
  std::unique_ptr<Federation> federation_;
  std::unique_ptr<ReportQueue> reports_;
  std::unique_ptr<ServiceContext> service_;
  std::unique_ptr<CoordinatorServer> server_;
};

class ServiceTest : public LoopbackTest {
 protected:
  void SetUp() override {
    JobSpec spec = ToySpec();
    spec.job.min_clients = 2;
    spec.job.min_available_clients = 2;
    Start({ToyPlanner(spec, BigManifest())});
  }
  void TearDown() override {
    links_.clear();
    LoopbackTest::TearDown();
  }

  fs::path Enrol(const std::string& name) {
    const IssuingAuthority authority = *ReadIssuingAuthority(folder_ / "pki" / "issuing");
    const KeyPtr key = *NewSigningKey();
    const std::string chain = *IssueClient(authority, {"demo", "lab", name}, *RequestPem(*key));
    EXPECT_TRUE(
        WriteCredentials(folder_ / name, {*PrivatePem(*key), chain, authority.roots_pem}).ok());
    return folder_ / name;
  }

  CoordinatorLink& LinkOf(const std::string& name) {
    auto& link = links_[name];
    if (link == nullptr) link = NewGrpcLink({address(), Enrol(name), ""});
    return *link;
  }

  std::unique_ptr<v1::Federation::Stub> StubOf(const std::string& name) {
    const Credentials files = *ReadCredentials(Enrol(name));
    return v1::Federation::NewStub(grpc::CreateCustomChannel(
        address(), MutualTlsClient({files.key_pem, files.chain_pem, files.roots_pem}),
        ChannelLimits()));
  }

  // The inbox is found before the link's thread can use it: the map is not locked.
  void Connect(CoordinatorLink& link, const std::string& inbox_name) {
    Inbox& inbox = inboxes_[inbox_name];
    link.Open({}, [&inbox](SessionEvent event) { inbox.Put(std::move(event)); });
    ASSERT_TRUE(inbox.Take<Welcomed>().has_value());
  }

  // Connects ann and bob, submits the job, lets both evaluate the initial state, and gives ann's
  // first training task.
  Assignment FirstTask() {
    for (const char* name : {"ann", "bob"}) Connect(LinkOf(name), name);
    while (streams_.size() < 2) std::this_thread::yield();
    const auto id = federation_->Submit({"toy", ""});
    EXPECT_TRUE(id.ok()) << id.status();
    federation_->Tick();
    for (const char* name : {"ann", "bob"}) {
      EXPECT_TRUE(federation_->ReportEvaluation(name, *id, 0, {1, 1, 1}).ok());
    }
    federation_->Tick();
    const auto task = inboxes_["ann"].Take<Assigned>(
        [](const Assigned& event) { return event.task.kind == Assignment::Kind::kTrain; });
    EXPECT_TRUE(task.has_value());
    return task.has_value() ? task->task : Assignment();
  }

  static Outcome OutcomeOf(const TaskKey& key, const std::string& file) {
    Outcome outcome;
    outcome.kind = Outcome::Kind::kTrained;
    outcome.key = key;
    outcome.sha256 = Sha256Hex(file);
    outcome.bytes = file.size();
    outcome.examples = 1;
    outcome.tokens = 10;
    outcome.steps = 1;
    return outcome;
  }

  static std::string Update(const std::string& client, const Assignment& task) {
    return ToyTrain(client, task.key.round, task.state_sha256, BigManifest()).file;
  }

  // A call ends at the client a moment before the service has forgotten it.
  void AwaitInFlight(uint64_t bytes) {
    const auto patience = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (service_->uploads.in_flight() != bytes && std::chrono::steady_clock::now() < patience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(service_->uploads.in_flight(), bytes);
  }

  // Begins an upload, sends `chunks` of it and breaks the call.
  void CutUpload(v1::Federation::Stub& stub, const Outcome& outcome, const std::string& file,
                 uint64_t chunks) {
    grpc::ClientContext context;
    const auto stream = stub.Upload(&context);
    ASSERT_TRUE(stream->Write(BeginOf(outcome)));
    v1::UploadReply reply;
    ASSERT_TRUE(stream->Read(&reply));
    const uint64_t before = traffic_.uplink_bytes;
    for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
      v1::UploadMessage message;
      message.mutable_chunk()->set_offset(chunk * kChunkBytes);
      message.mutable_chunk()->set_data(file.substr(chunk * kChunkBytes, kChunkBytes));
      ASSERT_TRUE(stream->Write(message));
    }
    while (traffic_.uplink_bytes < before + chunks * kChunkBytes) std::this_thread::yield();
    context.TryCancel();
    stream->Finish();
  }

  std::map<std::string, Inbox> inboxes_;
  std::map<std::string, std::unique_ptr<CoordinatorLink>> links_;
};

}  // namespace rivulet
