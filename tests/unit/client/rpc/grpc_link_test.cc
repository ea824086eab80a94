#include "client/rpc/grpc_link.h"

#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "common/io/sha256.h"
#include "common/rpc/chunk.h"
#include "common/rpc/hash_bytes.h"
#include "rivulet/v1/federation.grpc.pb.h"
#include "tests/unit/scratch.h"

// The link against a coordinator that talks without end and never finishes a transfer.

namespace rivulet {
namespace {

namespace fs = std::filesystem;

class EndlessCoordinator final : public v1::Federation::Service {
 public:
  grpc::Status Connect(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::AgentMessage>* stream) override {
    v1::CoordinatorMessage message;
    message.mutable_cancel()->mutable_key()->set_job("job");
    while (stream->Write(message)) {
    }
    return grpc::Status::OK;
  }
  grpc::Status Download(grpc::ServerContext* context, const v1::DownloadRequest*,
                        grpc::ServerWriter<v1::Chunk>* stream) override {
    v1::Chunk chunk;
    chunk.set_data("begun");
    stream->Write(chunk);
    return Stall(*context);
  }
  grpc::Status Upload(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::UploadReply, v1::UploadMessage>* stream) override {
    v1::UploadMessage message;
    stream->Read(&message);
    return Stall(*context);
  }

  std::atomic<int> stalled{0};

 private:
  grpc::Status Stall(const grpc::ServerContext& context) {
    ++stalled;
    while (!context.IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return grpc::Status::CANCELLED;
  }
};

class GrpcLinkTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = ScratchFolder();
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&coordinator_);
    server_ = builder.BuildAndStart();
    link_ = NewGrpcLink({"127.0.0.1:" + std::to_string(port), "", "rivulet://demo/lab/ann"});
  }
  void TearDown() override {
    link_.reset();
    server_->Shutdown();
    fs::remove_all(folder_);
  }
  void Open() {
    link_->Open({}, [this](const SessionEvent& event) {
      if (closed_) ++late_;
      if (std::holds_alternative<StreamLost>(event)) ++lost_;
      ++events_;
    });
  }
  void WaitForATransfer() const {
    while (coordinator_.stalled == 0) std::this_thread::yield();
  }
  absl::Status Download(std::stop_token stop) {
    return link_->Download(std::string(64, 'a'), 1000, folder_ / "state", std::move(stop));
  }

  fs::path folder_;
  EndlessCoordinator coordinator_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<CoordinatorLink> link_;
  std::atomic<int> events_{0}, lost_{0}, late_{0};
  std::atomic<bool> closed_{false};
};

TEST_F(GrpcLinkTest, NothingIsCalledAfterClose) {
  Open();
  while (events_ < 100) std::this_thread::yield();
  link_->Close();
  closed_ = true;
  EXPECT_EQ(lost_, 1);
  link_->Close();
  link_.reset();
  EXPECT_EQ(late_, 0);
}

TEST_F(GrpcLinkTest, OpenClosesWhatWasOpen) {
  Open();
  while (events_ < 100) std::this_thread::yield();
  Open();
  EXPECT_EQ(lost_, 1);
}

TEST_F(GrpcLinkTest, AStalledDownloadEndsWhenItIsToldTo) {
  Open();
  std::stop_source stop;
  std::thread teller([&] {
    WaitForATransfer();
    stop.request_stop();
  });
  EXPECT_EQ(Download(stop.get_token()).code(), absl::StatusCode::kCancelled);
  teller.join();
  EXPECT_EQ(Download(stop.get_token()).code(), absl::StatusCode::kCancelled);  // told before
}

TEST_F(GrpcLinkTest, AStalledDownloadEndsWithTheConnection) {
  Open();
  std::thread closer([&] {
    WaitForATransfer();
    link_->Close();
  });
  EXPECT_EQ(Download({}).code(), absl::StatusCode::kCancelled);
  closer.join();
}

TEST_F(GrpcLinkTest, AStalledUploadEndsWithTheConnection) {
  Open();
  std::thread closer([&] {
    WaitForATransfer();
    link_->Close();
  });
  Outcome outcome;
  outcome.sha256 = Sha256Hex("delta");
  outcome.bytes = 5;
  EXPECT_EQ(link_->Upload(outcome, "delta").code(), absl::StatusCode::kCancelled);
  closer.join();
}

// Sends the same tasks on every stream, and keeps what is answered until the stream ends.
class ScriptedCoordinator final : public v1::Federation::Service {
 public:
  explicit ScriptedCoordinator(std::vector<v1::Task> tasks) : tasks_(std::move(tasks)) {}
  grpc::Status Connect(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::AgentMessage>* stream) override {
    for (const v1::Task& task : tasks_) {
      v1::CoordinatorMessage message;
      *message.mutable_task() = task;
      stream->Write(message);
    }
    v1::AgentMessage said;
    while (stream->Read(&said)) {
      if (said.has_failure()) ++failures;
    }
    return grpc::Status::OK;
  }
  // A receipt of other bytes than were sent, or an answer that this file cannot have.
  grpc::Status Upload(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::UploadReply, v1::UploadMessage>* stream) override {
    stream->Read(&began);
    v1::UploadReply reply;
    if (commits) {
      reply.set_committed(0);
    } else {
      reply.mutable_receipt()->set_sha256(BytesOfHex(Sha256Hex("other")));
    }
    stream->Write(reply);
    v1::UploadMessage more;
    while (stream->Read(&more)) ++behind;
    return grpc::Status::OK;
  }

  std::atomic<int> failures{0}, behind{0};
  bool commits = false;
  v1::UploadMessage began;

 private:
  const std::vector<v1::Task> tasks_;
};

struct ScriptedLink {
  explicit ScriptedLink(ScriptedCoordinator& coordinator) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&coordinator);
    server = builder.BuildAndStart();
    link = NewGrpcLink({"127.0.0.1:" + std::to_string(port), "", "rivulet://demo/lab/ann"});
  }
  ~ScriptedLink() {
    link.reset();
    server->Shutdown();
  }
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<CoordinatorLink> link;
};

v1::Task TaskWith(const std::string& document, bool sent) {
  v1::Task task;
  task.set_kind(v1::Task::KIND_TRAIN);
  task.set_state_sha256(std::string(32, 'h'));
  task.set_job_sha256(BytesOfHex(Sha256Hex(document)));
  if (sent) task.set_job_document(document);
  return task;
}

TEST(JobDocument, IsPutBackWhereItIsTheLastOfTheStreamAndATaskWithoutIsDeclined) {
  ScriptedCoordinator coordinator({TaskWith("A", false), TaskWith("A", true), TaskWith("A", false),
                                   TaskWith("B", false), TaskWith("B", true), TaskWith("A", false),
                                   TaskWith("B", false)});
  ScriptedLink scripted(coordinator);
  std::mutex mutex;
  std::vector<std::string> documents;
  const auto arrived = [&] {
    const std::lock_guard lock(mutex);
    return documents.size();
  };
  for (int stream = 1; stream <= 2; ++stream) {  // the second starts with nothing, as the first did
    scripted.link->Open({}, [&](const SessionEvent& event) {
      const auto* assigned = std::get_if<Assigned>(&event);
      const std::lock_guard lock(mutex);
      if (assigned != nullptr) documents.push_back(assigned->task.job_document);
    });
    while (arrived() < 4 || coordinator.failures < 3 * stream) std::this_thread::yield();
    EXPECT_EQ(documents, (std::vector<std::string>{"A", "A", "B", "B"}));
    scripted.link->Close();
    documents.clear();
  }
  EXPECT_EQ(coordinator.failures, 6);
}

TEST(SmallUpdate, IsDeliveredOnceTheReceiptHasItsHash) {
  ScriptedCoordinator coordinator({});
  ScriptedLink scripted(coordinator);
  scripted.link->Open({}, [](const SessionEvent&) {});
  Outcome outcome;
  outcome.sha256 = Sha256Hex("delta");
  outcome.bytes = 5;
  const absl::Status other = scripted.link->Upload(outcome, "delta");
  EXPECT_EQ(other.code(), absl::StatusCode::kDataLoss) << other;
  EXPECT_EQ(coordinator.began.begin().data(), "delta");
  EXPECT_EQ(coordinator.began.begin().sha256(), "");
  coordinator.commits = true;  // all was sent already: there is nothing to go on with
  EXPECT_FALSE(scripted.link->Upload(outcome, "delta").ok());
  EXPECT_EQ(coordinator.behind, 0);
  const std::string large(kInlineUpdateBytes + 1, 'x');
  outcome.sha256 = Sha256Hex(large);
  outcome.bytes = large.size();
  EXPECT_FALSE(scripted.link->Upload(outcome, large).ok());
  EXPECT_EQ(coordinator.began.begin().data(), "");
  EXPECT_EQ(coordinator.began.begin().bytes(), large.size());
  EXPECT_EQ(coordinator.behind, 1);
}

}  // namespace
}  // namespace rivulet
