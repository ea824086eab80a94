#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <condition_variable>
#include <filesystem>
#include <fstream>

#include "client/rpc/grpc_link.h"
#include "common/io/file.h"
#include "common/rpc/chunk.h"
#include "common/rpc/hash_bytes.h"
#include "common/rpc/status_mapping.h"
#include "coordinator/coordinator_settings.h"
#include "coordinator/rpc/revoked_file.h"
#include "coordinator/rpc/server.h"
#include "privacy/crypto/key.h"
#include "privacy/crypto/pki_directory.h"
#include "tests/unit/coordinator/rounds/toy_federation.h"

// The services over mTLS on loopback, with the toy job: one tensor of a little over three chunks.

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const Manifest& BigManifest() {
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
  // The latest event of this kind that `fits`; empty after ten seconds.
  template <typename T>
  std::optional<T> Take(const std::function<bool(const T&)>& fits = [](const T&) { return true; }) {
    std::unique_lock lock(mutex_);
    std::optional<T> found;
    arrived_.wait_for(lock, std::chrono::seconds(10), [&] {
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

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "rivulet-service-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    ASSERT_TRUE(InitPki({.federation = "demo"}, folder_ / "pki").ok());
    JobSpec spec = ToySpec();
    spec.job.min_clients = 2;
    spec.job.min_available_clients = 2;
    FederationConfig config;
    config.planner = ToyPlanner(spec, BigManifest());
    config.background = false;
    federation_ = std::make_unique<Federation>(config, *states_, *blobs_, streams_, clock_);
    streams_.Attach(*federation_);
    ASSERT_TRUE(federation_->Recover().ok());
    reports_ = std::make_unique<ReportQueue>(*federation_);
    service_.reset(new ServiceContext{*federation_, *blobs_, streams_, access_, workers_, *reports_,
                                      traffic_});
    const Credentials tls = *ReadCredentials(folder_ / "pki" / "coordinator");
    auto server = CoordinatorServer::Start(
        {{"127.0.0.1:0"}, TlsFiles{tls.key_pem, tls.chain_pem, tls.roots_pem}}, *service_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void TearDown() override {
    links_.clear();
    server_.reset();
    fs::remove_all(folder_);
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(server_->ports()[0]); }

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

  std::shared_ptr<grpc::Channel> OperatorChannel() {
    const Credentials files = *ReadCredentials(folder_ / "pki" / "operator");
    return grpc::CreateCustomChannel(
        address(), MutualTlsClient({files.key_pem, files.chain_pem, files.roots_pem}),
        ChannelLimits());
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

  // Begins an upload, sends `chunks` of it and breaks the call.
  void CutUpload(v1::Federation::Stub& stub, const Outcome& outcome, const std::string& file,
                 uint64_t chunks) {
    grpc::ClientContext context;
    const auto stream = stub.Upload(&context);
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
    ASSERT_TRUE(stream->Write(message));
    v1::UploadReply reply;
    ASSERT_TRUE(stream->Read(&reply));
    const uint64_t before = traffic_.uplink_bytes;
    for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
      message.mutable_chunk()->set_offset(chunk * kChunkBytes);
      message.mutable_chunk()->set_data(file.substr(chunk * kChunkBytes, kChunkBytes));
      ASSERT_TRUE(stream->Write(message));
    }
    while (traffic_.uplink_bytes < before + chunks * kChunkBytes) std::this_thread::yield();
    context.TryCancel();
    stream->Finish();
  }

  fs::path folder_;
  std::unique_ptr<StateStore> states_ = MakeMemoryStateStore();
  std::unique_ptr<BlobStore> blobs_ = MakeMemoryBlobStore();
  VirtualClock clock_;
  AgentStreams streams_;
  Access access_{"demo", false};
  WorkerPool workers_{2};
  Traffic traffic_;
  std::unique_ptr<Federation> federation_;
  std::unique_ptr<ReportQueue> reports_;
  std::unique_ptr<ServiceContext> service_;
  std::unique_ptr<CoordinatorServer> server_;
  std::map<std::string, Inbox> inboxes_;
  std::map<std::string, std::unique_ptr<CoordinatorLink>> links_;
};

// More than the coordinator takes on at a time: it reads on as the first ones are answered.
TEST_F(ServiceTest, ManyReportsInARowAreEachAnsweredOnce) {
  constexpr uint64_t kReports = 500;
  const Assignment task = FirstTask();
  const auto stub = StubOf("ann");
  grpc::ClientContext context;
  const auto stream = stub->Connect(&context);
  v1::AgentMessage message;
  message.mutable_hello()->set_protocol_min(kProtocolMin);
  message.mutable_hello()->set_protocol_max(kProtocolMax);
  ASSERT_TRUE(stream->Write(message));
  std::thread writer([&] {
    for (uint64_t sequence = 1; sequence <= kReports; ++sequence) {
      v1::Evaluation& report = *message.mutable_evaluation();
      report.set_sequence(sequence);
      report.mutable_key()->set_job(sequence % 2 == 0 ? task.key.job : "nobody's");
      report.set_counted(1);
      stream->Write(message);
    }
  });
  std::map<uint64_t, uint32_t> codes;
  v1::CoordinatorMessage answer;
  while (codes.size() < kReports && stream->Read(&answer)) {
    if (!answer.has_acknowledgement()) continue;
    const auto [row, fresh] =
        codes.emplace(answer.acknowledgement().sequence(), answer.acknowledgement().code());
    EXPECT_TRUE(fresh) << row->first;
  }
  writer.join();
  context.TryCancel();
  ASSERT_EQ(codes.size(), kReports);
  EXPECT_EQ(codes[1], static_cast<uint32_t>(absl::StatusCode::kNotFound));
  EXPECT_EQ(codes[2], 0u) << "ann's report of round 0 was stored before: a repetition is fine";
}

TEST_F(ServiceTest, AReportWithAJobIdOfAnySizeIsRefused) {
  const auto stub = StubOf("ann");
  grpc::ClientContext context;
  const auto stream = stub->Connect(&context);
  v1::AgentMessage message;
  message.mutable_hello()->set_protocol_min(kProtocolMin);
  message.mutable_hello()->set_protocol_max(kProtocolMax);
  ASSERT_TRUE(stream->Write(message));
  message.mutable_evaluation()->mutable_key()->set_job(std::string(65, 'j'));
  ASSERT_TRUE(stream->Write(message));
  v1::CoordinatorMessage answer;
  while (stream->Read(&answer)) {
  }
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("key.job: got 65 bytes, want at most 64"));
}

TEST_F(ServiceTest, AnUploadGoesOnWhereItWasCutAndSendsNothingTwice) {
  const Assignment task = FirstTask();
  const std::string file = Update("ann", task);
  const Outcome outcome = OutcomeOf(task.key, file);
  const auto stub = StubOf("ann");
  CutUpload(*stub, outcome, file, 1);
  EXPECT_EQ(traffic_.uplink_bytes, kChunkBytes);
  const absl::Status status = LinkOf("ann").Upload(outcome, file);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(traffic_.uplink_bytes, file.size());
  EXPECT_EQ(traffic_.uploads_resumed, 1u);
}

TEST_F(ServiceTest, EveryCutBetweenChunksLeadsToTheSameReceipt) {
  const Assignment task = FirstTask();
  const std::string file = Update("ann", task);
  const Outcome outcome = OutcomeOf(task.key, file);
  const auto stub = StubOf("ann");
  CutUpload(*stub, outcome, file, 0);
  CutUpload(*stub, outcome, file, 3);
  EXPECT_TRUE(LinkOf("ann").Upload(outcome, file).ok());
  EXPECT_TRUE(LinkOf("ann").Upload(outcome, file).ok());  // the acknowledgement was lost
  EXPECT_EQ(traffic_.uplink_bytes, file.size());
}

TEST_F(ServiceTest, AnotherUpdateAfterAnAcceptedOneIsRefused) {
  const Assignment task = FirstTask();
  const std::string file = Update("ann", task);
  ASSERT_TRUE(LinkOf("ann").Upload(OutcomeOf(task.key, file), file).ok());
  const std::string other = Update("someone-else", task);
  EXPECT_EQ(LinkOf("ann").Upload(OutcomeOf(task.key, other), other).code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(ServiceTest, AnUpdateThatIsNotFiniteIsRefusedNamingTensorAndValue) {
  const Assignment task = FirstTask();
  ParameterSet delta(BigManifest());
  delta.floats(0)[12345] = std::nanf("");
  const std::string file = SafetensorsBytes(delta);
  const absl::Status status = LinkOf("ann").Upload(OutcomeOf(task.key, file), file);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a[12345]"));
  EXPECT_EQ(RemedyOf(status), Remedy::kLeaveRun);
}

TEST_F(ServiceTest, AnUpdateOfAnotherShapeIsRefused) {
  const Assignment task = FirstTask();
  const std::string file = SafetensorsBytes(ParameterSet({{"a", DType::kF32, {400'000, 2}}}));
  EXPECT_EQ(LinkOf("ann").Upload(OutcomeOf(task.key, file), file).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ServiceTest, AnUpdateOfTooManyBytesIsRefusedBeforeAByteIsSent) {
  const Assignment task = FirstTask();
  const std::string file(8 << 20, 'x');
  EXPECT_FALSE(LinkOf("ann").Upload(OutcomeOf(task.key, file), file).ok());
  EXPECT_EQ(traffic_.uplink_bytes, 0u);
}

TEST_F(ServiceTest, MoreBytesThanDeclaredAreRefused) {
  const Assignment task = FirstTask();
  const std::string file = Update("ann", task);
  Outcome outcome = OutcomeOf(task.key, file);
  outcome.bytes -= 4;
  EXPECT_FALSE(LinkOf("ann").Upload(outcome, file).ok());
}

TEST_F(ServiceTest, AClientOutsideTheCohortCanNeitherUploadNorDownload) {
  const Assignment task = FirstTask();
  const std::string file = Update("eve", task);
  CoordinatorLink& eve = LinkOf("eve");
  Connect(eve, "eve");
  EXPECT_EQ(eve.Upload(OutcomeOf(task.key, file), file).code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(eve.Download(task.state_sha256, task.state_bytes, folder_ / "stolen").code(),
            absl::StatusCode::kPermissionDenied);
}

TEST_F(ServiceTest, ADownloadGoesOnWhereTheFileEnds) {
  const Assignment task = FirstTask();
  const fs::path whole = folder_ / "whole", partial = folder_ / "partial";
  ASSERT_TRUE(LinkOf("ann").Download(task.state_sha256, task.state_bytes, whole).ok());
  const std::string bytes = *ReadFile(whole, 1 << 30);
  EXPECT_EQ(Sha256Hex(bytes), task.state_sha256);
  std::ofstream(partial) << bytes.substr(0, 1'234'567);
  const uint64_t before = traffic_.downlink_bytes;
  ASSERT_TRUE(LinkOf("ann").Download(task.state_sha256, task.state_bytes, partial).ok());
  EXPECT_EQ(*ReadFile(partial, 1 << 30), bytes);
  EXPECT_EQ(traffic_.downlink_bytes - before, bytes.size() - 1'234'567);
}

TEST_F(ServiceTest, AFailureIsAcknowledged) {
  const Assignment task = FirstTask();
  Outcome failure;
  failure.key = task.key;
  failure.code = "out_of_memory";
  LinkOf("ann").Report(failure);
  const auto answer = inboxes_["ann"].Take<Reported>();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->status.ok()) << answer->status;
  EXPECT_EQ(answer->key, task.key);
}

TEST_F(ServiceTest, ANewerConnectionOfOneNameEndsTheOlder) {
  FirstTask();
  const auto second = NewGrpcLink({address(), Enrol("ann"), ""});
  Connect(*second, "second");
  const auto lost = inboxes_["ann"].Take<StreamLost>();
  ASSERT_TRUE(lost.has_value());
  EXPECT_EQ(lost->status.code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(inboxes_["second"].Take<Assigned>().has_value());
  EXPECT_EQ(streams_.size(), 2u);
}

TEST_F(ServiceTest, ARevokedCertificateIsRefusedOnOpenConnectionsToo) {
  const Assignment task = FirstTask();
  RevokedFile revoked(folder_ / "revoked", access_);
  ASSERT_TRUE(revoked.Refresh().ok());  // there is none: nobody
  ASSERT_TRUE(LinkOf("ann").Download(task.state_sha256, task.state_bytes, folder_ / "y").ok());
  std::ofstream(folder_ / "revoked")
      << "# stolen on Monday\n"
      << IdentityOfLeaf(ReadCredentials(folder_ / "ann")->chain_pem)->serial << "\n";
  ASSERT_TRUE(revoked.Refresh().ok());
  EXPECT_EQ(LinkOf("ann").Download(task.state_sha256, task.state_bytes, folder_ / "x").code(),
            absl::StatusCode::kUnauthenticated);
  LinkOf("ann").Beat("idle");
  const auto lost = inboxes_["ann"].Take<StreamLost>();
  ASSERT_TRUE(lost.has_value());
  EXPECT_EQ(lost->status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_TRUE(LinkOf("bob").Download(task.state_sha256, task.state_bytes, folder_ / "z").ok());
}

TEST_F(ServiceTest, ABrokenListOfRevokedCertificatesLeavesTheOneBeforeInForce) {
  const Assignment task = FirstTask();
  const std::string serial = IdentityOfLeaf(ReadCredentials(folder_ / "ann")->chain_pem)->serial;
  RevokedFile revoked(folder_ / "revoked", access_);
  std::ofstream(folder_ / "revoked") << serial << "\n";
  ASSERT_TRUE(revoked.Refresh().ok());
  std::ofstream(folder_ / "revoked") << "not a serial\n";
  const absl::Status broken = revoked.Refresh();
  EXPECT_EQ(ExitCodeOf(broken), ExitCode::kConfig);
  EXPECT_THAT(std::string(broken.message()), HasSubstr("line 1: got 'not a serial'"));
  EXPECT_TRUE(revoked.Refresh().ok());  // said once
  const auto ann = [&] {
    return LinkOf("ann").Download(task.state_sha256, task.state_bytes, folder_ / "x").code();
  };
  EXPECT_EQ(ann(), absl::StatusCode::kUnauthenticated);
  fs::remove(folder_ / "revoked");
  ASSERT_TRUE(revoked.Refresh().ok());
  EXPECT_EQ(ann(), absl::StatusCode::kOk);
}

TEST_F(ServiceTest, AnAgentOfAnUnknownProtocolIsToldWhichAreSpoken) {
  const auto stub = StubOf("ann");
  grpc::ClientContext context;
  const auto stream = stub->Connect(&context);
  v1::AgentMessage hello;
  hello.mutable_hello()->set_protocol_min(7);
  hello.mutable_hello()->set_protocol_max(9);
  stream->Write(hello);
  v1::CoordinatorMessage message;
  EXPECT_FALSE(stream->Read(&message));
  const absl::Status status = FromGrpc(stream->Finish(), context);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("7..9"));
  EXPECT_EQ(RemedyOf(status), Remedy::kLeaveRun);
}

TEST_F(ServiceTest, WhatAnAgentCallsItselfReachesOperatorsAsPlainText) {
  const auto agent = StubOf("ann");
  grpc::ClientContext stream_context;
  const auto stream = agent->Connect(&stream_context);
  v1::AgentMessage hello;
  hello.mutable_hello()->set_protocol_min(kProtocolMin);
  hello.mutable_hello()->set_protocol_max(kProtocolMax);
  hello.mutable_hello()->set_software("\x1b[31m" + std::string(122, 'x') +
                                      "\xc3\xa9");  // 129 bytes
  ASSERT_TRUE(stream->Write(hello));
  v1::CoordinatorMessage welcome;
  ASSERT_TRUE(stream->Read(&welcome));
  while (federation_->Clients().empty()) std::this_thread::yield();

  const auto operations = v1::Operations::NewStub(OperatorChannel());
  grpc::ClientContext context;
  v1::NodesReply nodes;
  const grpc::Status status = operations->Nodes(&context, {}, &nodes);
  ASSERT_TRUE(status.ok()) << status.error_message();  // half a character cannot be parsed
  ASSERT_EQ(nodes.nodes_size(), 1);
  EXPECT_TRUE(nodes.nodes(0).software().starts_with(" [31m" + std::string(122, 'x')));
  EXPECT_LE(nodes.nodes(0).software().size(), 128u);
  stream_context.TryCancel();
  stream->Finish();
}

TEST_F(ServiceTest, ACallerWithoutACertificateGetsNoAnswer) {
  const auto stub = v1::Federation::NewStub(grpc::CreateChannel(
      address(),
      grpc::SslCredentials({ReadCredentials(folder_ / "pki" / "operator")->roots_pem, "", ""})));
  grpc::ClientContext context;
  const auto stream = stub->Connect(&context);
  v1::CoordinatorMessage message;
  EXPECT_FALSE(stream->Read(&message));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(ReturnGrace, CoversTheLongestWaitOfAnAgentBetweenTwoAttempts) {
  const SessionConfig agent;
  EXPECT_GT(std::chrono::seconds(CoordinatorSettings().return_grace_s), agent.backoff_cap);
  EXPECT_GT(FederationConfig().return_grace, agent.backoff_cap);
}

TEST(ServerAddress, InsecureIsForThisMachineAlone) {
  EXPECT_TRUE(CheckInsecureAddress("127.0.0.1:7440").ok());
  EXPECT_TRUE(CheckInsecureAddress("[::1]:7440").ok());
  EXPECT_TRUE(CheckInsecureAddress("localhost:7440").ok());
  for (const char* address : {"0.0.0.0:7440", "10.0.0.1:7440", "[::]:7440", "example.org:1", ""}) {
    EXPECT_EQ(ExitCodeOf(CheckInsecureAddress(address)), ExitCode::kUsage) << address;
  }
}

}  // namespace
}  // namespace rivulet
