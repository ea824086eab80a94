// Updates that come inside the header of their upload: one message each way.
#include "service_fixture.h"
#include "tests/unit/coordinator/rounds/masked_fixture.h"

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

// Six agents whose masks are agreed over their streams. Keys are the toy's, not those of the
// certificates: the federation is told so.
class MaskedSmallUpdateTest : public SmallUpdateTest {
 protected:
  void SetUp() override {
    spec_ = MaskedToySpec();
    spec_.job.num_rounds = 1;
    FederationConfig config;
    config.planner = PrivateToyPlanner(spec_);
    config.reader = ToyReader(spec_);
    Start(config);
    for (const std::string& name : kSix) Connect(LinkOf(name), name);
    while (streams_.size() < kSix.size()) std::this_thread::yield();
    for (const std::string& name : kSix) {
      const secagg::MemberCertificate& own = members_.Of(name).self.certificate;
      ClientFacts facts = ToyClient(name);
      facts.fingerprint.assign(own.fingerprint.begin(), own.fingerprint.end());
      facts.signing_key.assign(own.public_key.begin(), own.public_key.end());
      federation_->Connected(facts);
    }
    id_ = *federation_->Submit({"toy", ""});
    Evaluate(0);
    for (const std::string& name : kSix) BeginTask(name);
    HearAll(secagg::MessageKind::kRoster);
    HearAll(secagg::MessageKind::kForward);
  }

  void Evaluate(uint64_t round) {
    federation_->Tick();
    for (const std::string& name : kSix) {
      EXPECT_TRUE(federation_->ReportEvaluation(name, id_, round, {1, 1, 1}).ok());
    }
    federation_->Tick();
  }

  void BeginTask(const std::string& name) {
    const auto assigned = inboxes_[name].Take<Assigned>(
        [](const Assigned& event) { return event.task.kind == Assignment::Kind::kTrain; });
    ASSERT_TRUE(assigned.has_value());
    task_ = assigned->task;
    const MaskedTaskFacts facts{task_.key.job,      task_.key.round,    task_.key.attempt,
                                task_.state_sha256, task_.job_document, task_.masking};
    ToyMembers::Member& member = members_.Of(name);
    auto begun = MaskedTask::Begin(member.self, facts, *MaskedForm::Of(spec_, ToyManifest()));
    ASSERT_TRUE(begun.ok()) << begun.status();
    member.task = *std::move(begun);
    LinkOf(name).SendMasking(task_.key, member.task->advertisement());
  }

  void HearAll(secagg::MessageKind kind) {
    for (const std::string& name : kSix) {
      const auto arrived = inboxes_[name].Take<MaskingArrived>([kind](const MaskingArrived& event) {
        return static_cast<secagg::MessageKind>(event.bytes[0]) == kind;
      });
      ASSERT_TRUE(arrived.has_value()) << name;
      const auto answer = members_.Of(name).task->On(arrived->bytes);
      ASSERT_TRUE(answer.ok()) << answer.status();
      if (!answer->empty()) LinkOf(name).SendMasking(task_.key, *answer);
    }
  }

  std::string FileOf(const std::string& name) {
    LocalUpdate update;
    update.file = ToyTrain(name, 1, task_.state_sha256).file;
    update.examples = update.tokens = update.steps = 1;
    auto file = members_.Of(name).task->File(update);
    EXPECT_TRUE(file.ok()) << file.status();
    return file.ok() ? *file : "";
  }

  // What a masked upload tells beside its vector: nothing.
  v1::UploadMessage Masked(const std::string& file) const {
    v1::UploadMessage message = Inline(task_.key, file);
    message.mutable_begin()->clear_examples();
    message.mutable_begin()->clear_tokens();
    message.mutable_begin()->clear_steps();
    return message;
  }

  JobSpec spec_;
  ToyMembers members_;
  std::string id_;
  Assignment task_;  // of the last one; key and state are those of all
};

TEST_F(MaskedSmallUpdateTest, AForgedOrOversizeVectorIsRefusedAndTheRightOneTaken) {
  const std::string file = FileOf("a");
  ASSERT_LE(file.size(), kInlineUpdateBytes);
  const auto stub = StubOf("a");
  std::string forged = file;
  forged[0] ^= 1;
  for (const std::string& wrong :
       {forged, file + "x", file.substr(1), std::string(kInlineUpdateBytes + 1, 'x')}) {
    const Ended ended = Send(*stub, {Masked(wrong)});
    EXPECT_EQ(ended.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << wrong.size();
    EXPECT_TRUE(ended.replies.empty());
  }
  EXPECT_FALSE(Send(*stub, {Masked(FileOf("b"))}).status.ok()) << "another member's";
  EXPECT_TRUE(states_->Load()->updates.empty());
  const Ended ended = Send(*stub, {Masked(file)});
  ASSERT_TRUE(ended.status.ok()) << ended.status.error_message();
  ASSERT_EQ(ended.replies.size(), 1u);
  EXPECT_EQ(HexOfBytes(ended.replies[0].receipt().sha256()), Sha256Hex(file));
  EXPECT_EQ(states_->Load()->updates.size(), 1u);
}

TEST_F(MaskedSmallUpdateTest, OfVectorsInsideHeadersTheSumIsOpened) {
  for (const std::string& name : kSix) {
    const std::string file = FileOf(name);
    Outcome outcome = OutcomeOf(task_.key, file);
    outcome.examples = outcome.tokens = outcome.steps = 0;
    EXPECT_TRUE(LinkOf(name).Upload(outcome, file).ok());
  }
  federation_->Tick();
  HearAll(secagg::MessageKind::kSurvivorSet);
  HearAll(secagg::MessageKind::kEndorsements);
  const auto patience = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (states_->Load()->models.size() < 2 && std::chrono::steady_clock::now() < patience) {
    federation_->Tick();
    std::this_thread::yield();
  }
  Evaluate(1);
  const JobView view = *federation_->Show(id_);
  EXPECT_EQ(view.state, JobState::kFinished) << view.reason;
  ParameterSet want = PlainMean(kSix, 1, task_.state_sha256);
  const ParameterSet first = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
  for (size_t row = 0; row < want.size(); ++row) {
    for (size_t at = 0; at < want.floats(row).size(); ++at) {
      want.floats(row)[at] += first.floats(row)[at];
    }
  }
  EXPECT_LT(LargestDifference(StateOf(*federation_, *blobs_, id_), want), StepOf(spec_));
}

}  // namespace
}  // namespace rivulet
