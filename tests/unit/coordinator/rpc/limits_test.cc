// What each caller may ask of the services, and how much.
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>

#include <future>

#include "coordinator/rpc/views_to_wire.h"
#include "rivulet/v1/operations.grpc.pb.h"
#include "service_fixture.h"

namespace rivulet {
namespace {

TEST_F(ServiceTest, AnOperatorsCallNeedsADeadlineOfAtMostTenMinutes) {
  const Credentials files = *ReadCredentials(folder_ / "pki" / "operator");
  const auto stub = v1::Operations::NewStub(grpc::CreateCustomChannel(
      address(), MutualTlsClient({files.key_pem, files.chain_pem, files.roots_pem}),
      ChannelLimits()));
  const auto list = [&](std::optional<std::chrono::minutes> patience) {
    grpc::ClientContext context;
    if (patience) context.set_deadline(std::chrono::system_clock::now() + *patience);
    v1::ListReply reply;
    return stub->List(&context, v1::ListRequest(), &reply).error_code();
  };
  EXPECT_EQ(list(std::nullopt), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(list(std::chrono::minutes(11)), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(list(std::chrono::minutes(10)), grpc::StatusCode::OK);
  grpc::ClientContext context;  // a stream: refused for its job alone
  v1::WatchRequest watch;
  watch.set_job("none");
  v1::JobEvent event;
  const auto events = stub->Watch(&context, watch);
  EXPECT_FALSE(events->Read(&event));
  EXPECT_EQ(events->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

// One upload call, step by step.
class UploadCall {
 public:
  UploadCall(v1::Federation::Stub& stub, const Outcome& outcome) : stream_(stub.Upload(&context_)) {
    EXPECT_TRUE(stream_->Write(BeginOf(outcome)));
    v1::UploadReply reply;
    EXPECT_TRUE(stream_->Read(&reply));
    committed = reply.committed();
  }
  void Send(const std::string& file, uint64_t offset) {
    v1::UploadMessage message;
    message.mutable_chunk()->set_offset(offset);
    message.mutable_chunk()->set_data(file.substr(offset, kChunkBytes));
    stream_->Write(message);
  }
  grpc::StatusCode End() {
    v1::UploadReply reply;
    stream_->WritesDone();
    while (stream_->Read(&reply)) {
    }
    return stream_->Finish().error_code();
  }
  uint64_t committed = 0;

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::UploadMessage, v1::UploadReply>> stream_;
};

TEST_F(ServiceTest, ANewerUploadOfOneAgentEndsTheOlder) {
  const Assignment task = FirstTask();
  const std::string file = Update("ann", task);
  const Outcome outcome = OutcomeOf(task.key, file);
  const auto stub = StubOf("ann");
  UploadCall older(*stub, outcome);
  older.Send(file, 0);
  while (traffic_.uplink_bytes < kChunkBytes) std::this_thread::yield();
  UploadCall newer(*stub, outcome);
  EXPECT_EQ(newer.committed, kChunkBytes);
  older.Send(file, kChunkBytes);
  EXPECT_EQ(older.End(), grpc::StatusCode::ABORTED);
  for (uint64_t at = kChunkBytes; at < file.size(); at += kChunkBytes) newer.Send(file, at);
  EXPECT_EQ(newer.End(), grpc::StatusCode::OK);
  EXPECT_EQ(traffic_.uplink_bytes, file.size());
}

TEST(Replies, AJobOfManyRoundsKeepsTheNewestThatFitAndCountsTheRest) {
  JobView view;
  view.document = std::string(2 << 20, 'd');
  const std::vector<std::string> cohort(100, std::string(50, 'c'));
  for (uint64_t round = 1; round <= 5000; ++round) {
    view.rounds.emplace_back();
    view.rounds.back().round = round;
    view.rounds.back().cohort = cohort;
    view.evaluations.emplace_back();
    view.evaluations.back().round = round;
    view.evaluations.back().missing = cohort;
  }
  const v1::Job wire = ToWire(view);
  EXPECT_LT(wire.ByteSizeLong(), static_cast<size_t>(kMaxMessageBytes));
  ASSERT_GT(wire.rounds_size(), 100);
  EXPECT_EQ(wire.rounds(wire.rounds_size() - 1).round(), 5000u);
  EXPECT_EQ(wire.rounds(0).round(), wire.rounds_left_out() + 1);
  ASSERT_GT(wire.evaluations_size(), 50);
  EXPECT_EQ(wire.evaluations(0).round(), wire.evaluations_left_out() + 1);
  view.rounds.resize(3);
  EXPECT_EQ(ToWire(view).rounds_left_out(), 0u);
  EXPECT_EQ(ToWire(view).rounds_size(), 3);
}

TEST(Replies, AListOfManyJobsKeepsTheNewestThatFitAndCountsTheRest) {
  std::vector<JobView> views(20);
  for (size_t row = 0; row < views.size(); ++row) {
    views[row].id = std::to_string(row);
    views[row].reason = std::string(1000, 'r');
  }
  const v1::ListReply all = ToWire(views);
  EXPECT_EQ(all.jobs_size(), 20);
  EXPECT_EQ(all.left_out(), 0u);
  const v1::ListReply some = ToWire(views, 5000);
  ASSERT_EQ(some.jobs_size(), 4);  // of a little over 1000 bytes each
  EXPECT_EQ(some.left_out(), 16u);
  EXPECT_EQ(some.jobs(0).id(), "16");
  EXPECT_EQ(some.jobs(3).id(), "19");
}

// A coordinator of a later version, which knows a kind of task that we do not.
class LaterCoordinator final : public v1::Federation::Service {
 public:
  grpc::Status Connect(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::AgentMessage>* stream) override {
    v1::AgentMessage said;
    stream->Read(&said);  // Hello
    v1::CoordinatorMessage message;
    message.mutable_task()->set_kind(static_cast<v1::Task::Kind>(7));
    message.mutable_task()->mutable_key()->set_job("job");
    message.mutable_task()->mutable_key()->set_round(3);
    message.mutable_task()->mutable_key()->set_attempt(2);
    stream->Write(message);
    stream->Read(&said);
    answer.set_value(said);
    return grpc::Status::OK;
  }
  std::promise<v1::AgentMessage> answer;
};

TEST(UnknownTask, IsAnsweredWithAFailureThatNamesIt) {
  LaterCoordinator later;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&later);
  const auto server = builder.BuildAndStart();
  const auto link =
      NewGrpcLink({"127.0.0.1:" + std::to_string(port), "", "rivulet://demo/lab/ann"});
  link->Open({}, [](const SessionEvent&) {});
  const v1::AgentMessage answer = later.answer.get_future().get();
  ASSERT_TRUE(answer.has_failure());
  EXPECT_EQ(answer.failure().key().job(), "job");
  EXPECT_EQ(answer.failure().key().round(), 3u);
  EXPECT_EQ(answer.failure().key().attempt(), 2u);
  EXPECT_EQ(answer.failure().code(), "failed");
  EXPECT_EQ(answer.failure().text(), "task: got kind 7, want 1 or 2");
}

TEST(ServerAddress, InsecureIsForThisMachineAlone) {
  for (const char* address :
       {"127.0.0.1:7440", "127.8.9.10:7440", "[::1]:7440", "localhost:7440"}) {
    EXPECT_TRUE(CheckInsecureAddress(address).ok()) << address;
  }
  for (const char* address :
       {"0.0.0.0:7440", "10.0.0.1:7440", "[::]:7440", "example.org:1", "", "127.evil.example:7440",
        "127.0.0.1.evil.example:7440", "127.1:7440", "localhost.evil.example:7440", "[::2]:7440",
        "dns:///127.0.0.1:7440"}) {
    EXPECT_EQ(ExitCodeOf(CheckInsecureAddress(address)), ExitCode::kUsage) << address;
  }
}

TEST(ServerAddress, TheWarningOfInsecureNeedsNoLogLevel) {
  const auto level = spdlog::get_level();
  spdlog::set_level(spdlog::level::off);
  testing::internal::CaptureStderr();
  WarnInsecure("rivulet-client");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("rivulet-client: INSECURE: "));
  spdlog::set_level(level);
}

}  // namespace
}  // namespace rivulet
