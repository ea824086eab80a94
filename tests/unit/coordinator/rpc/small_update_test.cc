// Updates that come inside the header of their upload: one message each way.
#include "service_fixture.h"

namespace rivulet {
namespace {

class SmallUpdateTest : public ServiceTest {
 protected:
  void SetUp() override {
    JobSpec spec = ToySpec();
    spec.job.min_clients = 2;
    spec.job.min_available_clients = 2;
    Start({ToyPlanner(spec)});
  }

  static std::string Small(const std::string& client, const Assignment& task) {
    return ToyTrain(client, task.key.round, task.state_sha256).file;
  }

  static v1::UploadMessage Inline(const TaskKey& key, const std::string& file) {
    v1::UploadMessage message = BeginOf(OutcomeOf(key, file));
    message.mutable_begin()->clear_sha256();
    message.mutable_begin()->clear_bytes();
    message.mutable_begin()->set_data(file);
    return message;
  }

  // Sends these and gives the answers and how the call ended. Without half-close: none is needed.
  struct Ended {
    std::vector<v1::UploadReply> replies;
    grpc::Status status;
  };
  static Ended Send(v1::Federation::Stub& stub, const std::vector<v1::UploadMessage>& messages) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    const auto stream = stub.Upload(&context);
    for (const v1::UploadMessage& message : messages) stream->Write(message);
    Ended ended;
    v1::UploadReply reply;
    while (stream->Read(&reply)) ended.replies.push_back(reply);
    ended.status = stream->Finish();
    return ended;
  }
};

TEST_F(SmallUpdateTest, TheAnswerIsTheReceiptWithTheHashThatWasSeen) {
  const Assignment task = FirstTask();
  const std::string file = Small("ann", task);
  const auto stub = StubOf("ann");
  for (int time = 0; time < 2; ++time) {  // again: the same receipt, and nothing is stored twice
    const Ended ended = Send(*stub, {Inline(task.key, file)});
    ASSERT_TRUE(ended.status.ok()) << ended.status.error_message();
    ASSERT_EQ(ended.replies.size(), 1u);
    ASSERT_TRUE(ended.replies[0].has_receipt());
    const v1::Receipt& receipt = ended.replies[0].receipt();
    EXPECT_EQ(HexOfBytes(receipt.sha256()), Sha256Hex(file));
    EXPECT_EQ(receipt.bytes(), file.size());
    EXPECT_EQ(receipt.key().job(), task.key.job);
  }
  EXPECT_EQ(traffic_.uplink_bytes, file.size());
  EXPECT_EQ(traffic_.uploads_accepted, 1u);
  EXPECT_EQ(states_->Load()->updates.size(), 1u) << "durable before the receipt";
  const Ended other = Send(*stub, {Inline(task.key, Small("someone-else", task))});
  EXPECT_EQ(other.status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(SmallUpdateTest, AnAgentsLinkSendsOneMessage) {
  const Assignment task = FirstTask();
  const std::string file = Small("ann", task);
  EXPECT_TRUE(LinkOf("ann").Upload(OutcomeOf(task.key, file), file).ok());
  EXPECT_TRUE(LinkOf("ann").Upload(OutcomeOf(task.key, file), file).ok());
  EXPECT_EQ(traffic_.uplink_bytes, file.size());
}

TEST_F(SmallUpdateTest, WhatAnEarlierCallLeftIsNotTakenTwice) {
  const Assignment task = FirstTask();
  const std::string file = Small("ann", task);
  const auto stub = StubOf("ann");
  {
    grpc::ClientContext context;
    const auto stream = stub->Upload(&context);
    ASSERT_TRUE(stream->Write(BeginOf(OutcomeOf(task.key, file))));
    v1::UploadMessage chunk;
    chunk.mutable_chunk()->set_data(file.substr(0, 100));
    ASSERT_TRUE(stream->Write(chunk));
    while (traffic_.uplink_bytes < 100) std::this_thread::yield();
    context.TryCancel();
    stream->Finish();
  }
  EXPECT_TRUE(LinkOf("ann").Upload(OutcomeOf(task.key, file), file).ok());
  EXPECT_EQ(traffic_.uplink_bytes, file.size());
  EXPECT_EQ(traffic_.uploads_resumed, 1u);
}

TEST_F(SmallUpdateTest, WhatIsSentBehindItIsNotRead) {
  const Assignment task = FirstTask();
  const std::string file = Small("ann", task);
  v1::UploadMessage chunk;
  chunk.mutable_chunk()->set_offset(file.size());
  chunk.mutable_chunk()->set_data("more");
  const Ended ended = Send(*StubOf("ann"), {Inline(task.key, file), chunk, chunk});
  ASSERT_EQ(ended.replies.size(), 1u);
  EXPECT_TRUE(ended.replies[0].has_receipt());
  EXPECT_EQ(traffic_.uplink_bytes, file.size());
}

TEST_F(SmallUpdateTest, AHeaderThatContradictsItselfIsRefusedBeforeAByteIsStored) {
  const Assignment task = FirstTask();
  const std::string file = Small("ann", task);
  const auto stub = StubOf("ann");
  v1::UploadMessage with_hash = Inline(task.key, file);
  with_hash.mutable_begin()->set_sha256(BytesOfHex(Sha256Hex(file)));
  v1::UploadMessage with_size = Inline(task.key, file);
  with_size.mutable_begin()->set_bytes(file.size() - 1);
  const v1::UploadMessage too_long = Inline(task.key, std::string(kInlineUpdateBytes + 1, 'x'));
  const v1::UploadMessage empty = Inline(task.key, "");
  for (const auto& message : {with_hash, with_size, too_long, empty}) {
    const Ended ended = Send(*stub, {message});
    EXPECT_EQ(ended.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_TRUE(ended.replies.empty());
  }
  EXPECT_EQ(traffic_.uplink_bytes, 0u);
  EXPECT_TRUE(LinkOf("ann").Upload(OutcomeOf(task.key, file), file).ok());
}

TEST_F(SmallUpdateTest, AFileThatIsNoUpdateIsRefusedAndTheRightOneTakenAfterwards) {
  const Assignment task = FirstTask();
  const std::string file = Small("ann", task);
  const auto stub = StubOf("ann");
  for (const size_t size : {size_t{1}, file.size(), size_t{kInlineUpdateBytes}}) {
    EXPECT_EQ(Send(*stub, {Inline(task.key, std::string(size, 'x'))}).status.error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_EQ(traffic_.uploads_rejected, 3u);
  EXPECT_TRUE(Send(*stub, {Inline(task.key, file)}).status.ok());
}

TEST_F(SmallUpdateTest, OnlyOfTheCohortAndOfTheOpenAttempt) {
  const Assignment task = FirstTask();
  const std::string file = Small("eve", task);
  EXPECT_EQ(Send(*StubOf("eve"), {Inline(task.key, file)}).status.error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  TaskKey other = task.key;
  ++other.attempt;
  EXPECT_EQ(Send(*StubOf("ann"), {Inline(other, file)}).status.error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  other.job = "none";
  EXPECT_EQ(Send(*StubOf("ann"), {Inline(other, file)}).status.error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(traffic_.uplink_bytes, 0u);
}

// An upload in chunks waits for its bytes; then the same agent sends the file at once.
TEST_F(SmallUpdateTest, ItEndsAnOlderUploadOfTheAgentAndLeavesNothingInFlight) {
  const Assignment task = FirstTask();
  const std::string file = Small("ann", task);
  const auto stub = StubOf("ann");
  grpc::ClientContext context;
  const auto older = stub->Upload(&context);
  ASSERT_TRUE(older->Write(BeginOf(OutcomeOf(task.key, Small("someone-else", task)))));
  v1::UploadReply reply;
  ASSERT_TRUE(older->Read(&reply));
  EXPECT_GT(service_->uploads.in_flight(), 0u);
  EXPECT_TRUE(Send(*stub, {Inline(task.key, file)}).status.ok());
  AwaitInFlight(0);
  v1::UploadMessage chunk;
  chunk.mutable_chunk()->set_data("late");
  older->Write(chunk);
  EXPECT_FALSE(older->Read(&reply));
  EXPECT_EQ(older->Finish().error_code(), grpc::StatusCode::ABORTED);
}

class FullLineTest : public SmallUpdateTest {
 protected:
  FullLineTest() { upload_limits_.bytes_in_flight = 1; }
};

TEST_F(FullLineTest, WhatIsThereAlreadyIsNotInFlight) {
  const Assignment task = FirstTask();
  const std::string file = Small("ann", task);
  const auto bobs = StubOf("bob");
  grpc::ClientContext context;
  const auto stream = bobs->Upload(&context);
  ASSERT_TRUE(stream->Write(BeginOf(OutcomeOf(task.key, Small("bob", task)))));
  v1::UploadReply reply;
  ASSERT_TRUE(stream->Read(&reply));
  const auto stub = StubOf("ann");
  EXPECT_EQ(Send(*stub, {BeginOf(OutcomeOf(task.key, file))}).status.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Send(*stub, {Inline(task.key, file)}).status.ok());
  context.TryCancel();
  stream->Finish();
}

}  // namespace
}  // namespace rivulet
