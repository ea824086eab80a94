#include "coordinator/rpc/agent_message.h"

#include <grpcpp/generic/generic_stub.h>
#include <unistd.h>

#include "privacy/crypto/certificate.h"
#include "service_fixture.h"

namespace rivulet {
namespace {

TEST_F(ServiceTest, AnAgentsFactsSayWhatItsSignaturesAreCheckedBy) {
  const Credentials files = *ReadCredentials(Enrol("ann"));
  const std::string leaf = *CertificatePem(**ReadCertificate(files.chain_pem));
  const ClientFacts facts = FactsOf({"demo", "lab", "ann"}, Hello().hello(), leaf);
  EXPECT_EQ(facts.certificate, leaf);
  EXPECT_EQ(HexOfBytes(facts.fingerprint), FingerprintOf(**ReadCertificate(leaf)));
  EXPECT_EQ(facts.signing_key.size(), 32u);
  EXPECT_EQ(facts.organisation, "lab");
  for (const std::string none : {"", "no PEM"}) {
    const ClientFacts bare = FactsOf({"demo", "lab", "ann"}, Hello().hello(), none);
    EXPECT_EQ(bare.name, "ann");
    EXPECT_EQ(bare.certificate + bare.fingerprint + bare.signing_key + bare.organisation, "");
  }
}

TEST(AgentMessage, MasksBeyondTheirLimitsAreRefused) {
  v1::Masking masking;
  masking.mutable_key()->set_job("rnd-1");
  masking.mutable_key()->set_round(3);
  masking.mutable_key()->set_attempt(2);
  const auto refuses = [&] {
    const absl::Status status = MaskingMessageOf(masking).status();
    EXPECT_EQ(RemedyOf(status), Remedy::kLeaveRun);
    return status.code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refuses());  // empty
  masking.set_message(std::string(1 << 20, 'x'));
  const auto taken = MaskingMessageOf(masking);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(taken->job_id, "rnd-1");
  EXPECT_EQ(taken->round, 3u);
  EXPECT_EQ(taken->attempt, 2u);
  EXPECT_EQ(taken->bytes, masking.message());
  masking.mutable_message()->push_back('x');
  EXPECT_TRUE(refuses());
  masking.set_message("x");
  masking.add_certificates("PEM");
  EXPECT_TRUE(refuses());
  masking.clear_certificates();
  masking.mutable_key()->set_job(std::string(65, 'j'));
  EXPECT_TRUE(refuses());
}

TEST_F(ServiceTest, MasksThatAreNotWantedLeaveTheStreamOpen) {
  const Assignment task = FirstTask();
  for (const TaskKey& key : {task.key, TaskKey{"nobody's", 1, 1}}) {
    LinkOf("ann").SendMasking(key, "keys");
  }
  Outcome failure;
  failure.key = task.key;
  failure.code = "failed";
  LinkOf("ann").Report(failure);
  EXPECT_TRUE(inboxes_["ann"].Take<Reported>().has_value());
}

TEST_F(ServiceTest, MasksBeyondTheirLimitsEndTheStream) {
  FirstTask();
  LinkOf("ann").SendMasking({"job", 1, 1}, std::string((1 << 20) + 1, 'x'));
  const auto lost = inboxes_["ann"].Take<StreamLost>();
  ASSERT_TRUE(lost.has_value());
  EXPECT_EQ(lost->status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RemedyOf(lost->status), Remedy::kLeaveRun);
}

TEST_F(ServiceTest, CertificatesOfALargeRosterGoAheadInMessagesOfTheirOwn) {
  FirstTask();
  MaskingMessage message{"job", 4, 2, "roster", {}};
  for (int member = 0; member < 600; ++member) {
    message.certificates.push_back("PEM " + std::to_string(member));
  }
  streams_.Tell({"ann"}, message);
  const auto of = [this](const std::string& first) {
    return inboxes_["ann"].Take<MaskingArrived>(
        [&](const MaskingArrived& event) { return event.certificates.at(0) == first; });
  };
  const auto last = of("PEM 512");
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->bytes, "roster");
  EXPECT_EQ(last->key, (TaskKey{"job", 4, 2}));
  EXPECT_EQ(last->certificates.size(), 88u);
  for (const char* first : {"PEM 0", "PEM 256"}) {
    const auto before = of(first);
    ASSERT_TRUE(before.has_value());
    EXPECT_EQ(before->bytes, "");
    EXPECT_EQ(before->certificates.size(), 256u);
  }
  streams_.Tell({"ann"}, {"job", 4, 2, "survivors", {}});
  const auto alone = inboxes_["ann"].Take<MaskingArrived>(
      [](const MaskingArrived& event) { return event.bytes == "survivors"; });
  EXPECT_TRUE(alone.has_value() && alone->certificates.empty());
}

// A stream whose agent reads nothing.
class StillStream final : public AgentStream {
 public:
  void Push(v1::CoordinatorMessage) override {}
  void PushBytes(const grpc::ByteBuffer& message) override { queued.push_back(message); }
  void End(const absl::Status&) override {}
  std::vector<grpc::ByteBuffer> queued;
};

std::vector<const uint8_t*> PlacesOf(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(message.Dump(&slices).ok());
  std::vector<const uint8_t*> places;
  for (const grpc::Slice& slice : slices) places.push_back(slice.begin());
  return places;
}

uint64_t ResidentMib() {
  uint64_t all = 0, resident = 0;  // in pages
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<uint64_t>(getpagesize()) >> 20;
}

// A roster of 5,000 is 0.7 MB, and goes to 5,000: 3.3 GiB were each of them to have its own.
TEST_F(ServiceTest, AMessageToManyIsHeldOnce) {
  std::map<std::string, StillStream> still;
  std::vector<std::string> names = {"nobody"};
  for (int client = 0; client < 5000; ++client) {
    names.push_back("c" + std::to_string(client));
    streams_.Join(ToyClient(names.back()), {}, still[names.back()]);
  }
  MaskingMessage message{"job", 4, 2, std::string(700'000, 'r'), {}};
  message.certificates.assign(300, std::string(1000, 'c'));
  const uint64_t before = ResidentMib();
  streams_.Tell(names, message);
  const uint64_t after = ResidentMib();
  RecordProperty("MiB", std::to_string(after - std::min(after, before)));
  EXPECT_LT(after, before + 100);
  const std::vector<grpc::ByteBuffer>& first = still["c0"].queued;
  ASSERT_EQ(first.size(), 2u);
  EXPECT_GT(first[1].Length(), message.bytes.size());
  for (auto& [name, stream] : still) {
    ASSERT_EQ(stream.queued.size(), 2u);
    for (size_t part = 0; part < 2; ++part) {
      EXPECT_EQ(PlacesOf(stream.queued[part]), PlacesOf(first[part]));
    }
    streams_.Leave(name, stream);
  }
}

TEST_F(ServiceTest, BytesThatAreNoMessageEndTheStream) {
  const Credentials files = *ReadCredentials(Enrol("ann"));
  grpc::GenericStub stub(grpc::CreateCustomChannel(
      address(), MutualTlsClient({files.key_pem, files.chain_pem, files.roots_pem}),
      ChannelLimits()));
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareCall(&context, "/rivulet.v1.Federation/Connect", &queue);
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    return ok;
  };
  call->StartCall(nullptr);
  EXPECT_TRUE(next());
  const grpc::Slice rubbish("\x0a\xff");
  call->Write(grpc::ByteBuffer(&rubbish, 1), nullptr);
  EXPECT_TRUE(next());
  grpc::Status status;
  call->Finish(&status, nullptr);
  EXPECT_TRUE(next());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
}

}  // namespace
}  // namespace rivulet
