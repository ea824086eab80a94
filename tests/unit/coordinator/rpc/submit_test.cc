#include "coordinator/cli/operator_client.h"
#include "service_fixture.h"

// Submit over mTLS on loopback: base tensors of more than one gRPC message (4 MiB).

namespace rivulet {
namespace {

const Manifest& LargeManifest() {
  static const Manifest manifest = {{"a", DType::kF32, {1'500'000}}};  // 5.7 MiB
  return manifest;
}

class SubmitRpcTest : public LoopbackTest {
 protected:
  void SetUp() override {
    Start({ToyPlanner(ToySpec(), LargeManifest())});
    ParameterSet values(LargeManifest());
    for (float& value : values.floats(0)) value = 0.25f;
    file_ = SafetensorsBytes(values);
    document_ = "base " + Sha256Hex(file_);
  }
  OperatorClient Client() {
    auto client = OperatorClient::Connect(AsOperator());
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  // Sends these messages as they are, as a careless operator's program might.
  absl::Status Send(const std::vector<v1::SubmitRequest>& messages) {
    const auto stub = v1::Operations::NewStub(OperatorChannel());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    v1::SubmitReply reply;
    const auto stream = stub->Submit(&context, &reply);
    for (const v1::SubmitRequest& message : messages) {
      if (!stream->Write(message)) break;
    }
    stream->WritesDone();
    return FromGrpc(stream->Finish(), context);
  }
  static v1::SubmitRequest First(const std::string& document) {
    v1::SubmitRequest message;
    message.set_document(document);
    return message;
  }
  static v1::SubmitRequest Chunk(std::string bytes) {
    v1::SubmitRequest message;
    message.set_base_tensors(std::move(bytes));
    return message;
  }
  // Nothing of a refused submission stays.
  void ExpectNothingKept() {
    EXPECT_TRUE(federation_->List().empty());
    EXPECT_TRUE(blobs_->List()->empty());
  }
  std::string file_, document_;
};

TEST_F(SubmitRpcTest, BaseTensorsLargerThanAMessageBecomeTheFirstState) {
  ASSERT_GT(file_.size(), size_t{4} << 20);
  const auto id = Client().Submit(document_, "token", file_);
  ASSERT_TRUE(id.ok()) << id.status();
  ParameterSet want(LargeManifest());
  for (float& value : want.floats(0)) value = 0.25f;
  EXPECT_EQ(federation_->Show(*id)->state_hash, want.HashHex());
}

// The reply was lost and the operator's program sends all of it again.
TEST_F(SubmitRpcTest, TheSameTokenGivesTheSameJobWithoutReadingTheFileAgain) {
  const auto id = Client().Submit(document_, "token", file_);
  ASSERT_TRUE(id.ok()) << id.status();
  const auto again = Client().Submit(document_, "token", file_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, *id);
  EXPECT_EQ(Client().Submit("toy", "token", "").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(federation_->List().size(), 1u);
}

TEST_F(SubmitRpcTest, AJobWithoutBaseTensorsIsOneMessage) {
  EXPECT_TRUE(Client().Submit("toy", "", "").ok());
  EXPECT_EQ(Send({First("toy"), Chunk("x")}).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(federation_->List().size(), 1u);
}

TEST_F(SubmitRpcTest, WrongAndMissingBaseTensorsAreRefusedAndLeaveNothing) {
  OperatorClient client = Client();
  absl::Status status = client.Submit(document_, "t", "").status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig) << status;
  std::string flipped = file_;
  flipped.back() ^= 1;
  status = client.Submit(document_, "t", flipped).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  status = client.Submit(document_, "t", file_.substr(0, file_.size() - 4)).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig) << status;
  // More than the manifest can need: refused while it is sent.
  status = client.Submit(document_, "t", file_ + std::string(size_t{2} << 20, 'x')).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  ExpectNothingKept();
}

TEST_F(SubmitRpcTest, MessagesOutOfPlaceAreRefused) {
  EXPECT_EQ(Send({}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Send({Chunk("x")}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Send({First(document_), First(document_)}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Send({First(document_), Chunk("")}).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status large = Send({First(document_), Chunk(std::string(kChunkBytes + 1, 'x'))});
  EXPECT_EQ(large.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(large.message()), HasSubstr("got 1048577 bytes, want 1..1048576"));
  ExpectNothingKept();
}

}  // namespace
}  // namespace rivulet
