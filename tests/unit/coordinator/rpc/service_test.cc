#include <cmath>

#include "coordinator/coordinator_settings.h"
#include "coordinator/rpc/revoked_file.h"
#include "service_fixture.h"

namespace rivulet {
namespace {

// More than the coordinator takes on at a time: it reads on as the first ones are answered.
TEST_F(ServiceTest, ManyReportsInARowAreEachAnsweredOnce) {
  constexpr uint64_t kReports = 500;
  const Assignment task = FirstTask();
  const auto stub = StubOf("ann");
  grpc::ClientContext context;
  const auto stream = stub->Connect(&context);
  v1::AgentMessage message = Hello();
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
  v1::AgentMessage message = Hello();
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

TEST_F(ServiceTest, DownloadsThatAreBrokenOffEndAndLeaveNothingBehind) {
  const Assignment task = FirstTask();
  const auto stub = StubOf("ann");
  v1::DownloadRequest request;
  request.set_sha256(BytesOfHex(task.state_sha256));
  for (int call = 0; call < 100; ++call) {
    grpc::ClientContext context;
    const auto stream = stub->Download(&context, request);
    v1::Chunk chunk;
    if (call % 2 == 0) {
      EXPECT_TRUE(stream->Read(&chunk));
    }
    context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(LinkOf("ann").Download(task.state_sha256, task.state_bytes, folder_ / "x").ok());
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

// As after a connection that broke while the job came to its end.
TEST_F(ServiceTest, WhoWatchesAJobThatHasEndedHearsItsLastEvent) {
  auto client = OperatorClient::Connect(AsOperator());
  ASSERT_TRUE(client.ok()) << client.status();
  const auto id = client->Submit("toy", "", "");
  ASSERT_TRUE(id.ok()) << id.status();
  ASSERT_TRUE(client->Stop(*id, true).ok());
  std::vector<v1::JobEvent> events;
  const absl::Status ended = client->Watch(
      *id, std::stop_token(), [&](const v1::JobEvent& event) { events.push_back(event); });
  EXPECT_TRUE(ended.ok()) << ended;
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].type(), "job.stopped");
  EXPECT_EQ(events[0].job(), *id);
  EXPECT_EQ(events[0].unix_ms(), client->Show(*id)->ended_ms());
}

TEST_F(ServiceTest, WhatAnAgentCallsItselfReachesOperatorsAsPlainText) {
  const auto agent = StubOf("ann");
  grpc::ClientContext stream_context;
  const auto stream = agent->Connect(&stream_context);
  v1::AgentMessage hello = Hello();
  hello.mutable_hello()->set_software("\x1b[31m" + std::string(122, 'x') +
                                      "\xc3\xa9");  // 129 bytes
  ASSERT_TRUE(stream->Write(hello));
  v1::CoordinatorMessage welcome;
  ASSERT_TRUE(stream->Read(&welcome));
  while (federation_->Clients().empty()) std::this_thread::yield();

  const auto operations = v1::Operations::NewStub(OperatorChannel());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
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

}  // namespace
}  // namespace rivulet
