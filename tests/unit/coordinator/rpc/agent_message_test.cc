#include "coordinator/rpc/agent_message.h"

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
  streams_.Tell("ann", message);
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
  streams_.Tell("ann", {"job", 4, 2, "survivors", {}});
  const auto alone = inboxes_["ann"].Take<MaskingArrived>(
      [](const MaskingArrived& event) { return event.bytes == "survivors"; });
  EXPECT_TRUE(alone.has_value() && alone->certificates.empty());
}

}  // namespace
}  // namespace rivulet
