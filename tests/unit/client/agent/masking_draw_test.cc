// An agent's part in the draw of groups: what it says, and goes on saying after a restart.
#include <gmock/gmock.h>

#include "coordinator/rounds/masked_draw.h"
#include "privacy/secagg/shared/reason.h"
#include "tests/unit/client/agent/masked_cohort.h"

namespace rivulet {
namespace {

using secagg::MessageKind;

// Five agents and one group: the draw goes before its keys as before those of many.
class MaskingDraw : public MaskedCohort {
 protected:
  void SetUp() override {
    MaskedCohort::SetUp();
    document_.spec.robust.rule = "median";
    document_.spec.robust.groups = 2;  // of four and more: five make one
    task_.job_document = JobDocumentText(document_);
    const auto form = MaskedForm::Of(document_.spec, manifest_);
    ASSERT_TRUE(form.ok()) << form.status();
    const secagg::Params params =
        form->ParamsOf({"rnd-1", 1, 1, task_.state_sha256, task_.job_document, 5});
    auto draw = MaskedDraw::Start(params, form->fewest_drawn(), names_, {}, now_);
    ASSERT_TRUE(draw.ok()) << draw.status();
    draw_ = *std::move(draw);
    task_.masking = draw_->ParametersMessage();
  }
  void Give(const std::string& name, const std::string& bytes) {
    const auto output = draw_->OnMessage(MemberOf(name), bytes, now_);
    ASSERT_TRUE(output.ok()) << name << ": " << output.status();
    EXPECT_TRUE(output->failed.ok()) << output->failed;
  }
  void CommitAll() {
    for (const std::string& name : names_) {
      const auto said = DeskOf(name).Begin(task_);
      ASSERT_TRUE(said.ok()) << said.status();
      Give(name, *said);
    }
    ASSERT_EQ(draw_->said().size(), 1u);
  }
  MaskingArrived Arrived(const std::string& bytes) {
    MaskingArrived message{task_.key, bytes, {}};
    for (const std::string& name : names_) message.certificates.push_back(LeafOf(name));
    return message;
  }
  static MessageKind KindOf(const std::string& bytes) {
    return bytes.empty() ? MessageKind() : static_cast<MessageKind>(bytes[0]);
  }

  std::unique_ptr<MaskedDraw> draw_;
};

TEST_F(MaskingDraw, ComesToKeysAndSurvivesRestarts) {
  CommitAll();
  const std::string commitment = *DeskOf("ada").Begin(task_);
  EXPECT_EQ(KindOf(commitment), MessageKind::kCommitment);
  EXPECT_EQ(*Start("ada").Begin(task_), commitment);
  for (const std::string& name : names_) {
    const MaskingDesk::Answer answer = DeskOf(name).On(Arrived(draw_->said()[0]));
    ASSERT_FALSE(answer.refused.has_value()) << answer.refused->text;
    EXPECT_EQ(KindOf(answer.bytes), MessageKind::kReveal);
    EXPECT_EQ(Start(name).On(Arrived(draw_->said()[0])).bytes, answer.bytes);
    Give(name, answer.bytes);
  }
  ASSERT_TRUE(draw_->drawn());
  std::set<Bytes32> sessions;
  for (const std::string& name : names_) {
    const MaskingDesk::Answer answer = DeskOf(name).On(Arrived(draw_->said()[1]));
    ASSERT_FALSE(answer.refused.has_value()) << answer.refused->text;
    const auto keys = secagg::Decode<secagg::Advertisement>(answer.bytes);
    ASSERT_TRUE(keys.ok()) << keys.status();
    sessions.insert(keys->sid0);
    EXPECT_EQ(*DeskOf(name).Begin(task_), answer.bytes);  // from now on its keys
    EXPECT_EQ(*Start(name).Begin(task_), answer.bytes);
    EXPECT_EQ(DeskOf(name).On(Arrived(draw_->said()[1])).bytes, answer.bytes);
  }
  EXPECT_EQ(sessions.size(), 1u);
}

TEST_F(MaskingDraw, AListThatIsNotItsOwnIsReportedAndTheCoordinatorToldWhy) {
  CommitAll();
  auto pool = *secagg::Decode<secagg::Pool>(draw_->said()[0]);
  std::erase_if(pool.entries, [&](const secagg::PoolEntry& entry) {
    return entry.fingerprint == MemberOf("ada").fingerprint;
  });
  const MaskingDesk::Answer answer = DeskOf("ada").On(Arrived(secagg::Encode(pool)));
  ASSERT_TRUE(answer.refused.has_value());
  EXPECT_THAT(answer.refused->text, testing::HasSubstr("own commitment is missing"));
  const auto output = draw_->OnMessage(MemberOf("ada"), answer.refused->abort, now_);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(secagg::ReasonOf(output->failed), secagg::Reason::kNonce);
  EXPECT_THAT(std::string(output->failed.message()), testing::HasSubstr("refused: ROSTER_SELF"));
  EXPECT_TRUE(output->repeatable);
  EXPECT_THAT(output->faulty, testing::IsEmpty());  // who is right nobody knows
}

// It has no list yet that it could refuse the nonces of.
TEST_F(MaskingDraw, AnAbortForWhatItWasNotShownExcludes) {
  CommitAll();
  const secagg::Abort abort{.id = secagg::Decode<secagg::Pool>(draw_->said()[0])->pool,
                            .reason = secagg::Reason::kNonce};
  const auto output = draw_->OnMessage(MemberOf("ada"), secagg::Encode(abort), now_);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_FALSE(output->failed.ok());
  EXPECT_THAT(output->faulty, testing::ElementsAre(testing::Pair("ada", "refused: NONCE")));
}

TEST_F(MaskingDraw, OneThatGivesUpWithoutItsNonceIsExcluded) {
  CommitAll();
  const auto output = draw_->OnGone("ada", std::nullopt, now_);
  EXPECT_FALSE(output.failed.ok());
  EXPECT_EQ(output.faulty.size(), 1u);
}

TEST_F(MaskingDraw, OneThatGivesUpForWhatItWasShownIsNotExcluded) {
  CommitAll();
  const auto output = draw_->OnGone("ada", secagg::Reason::kRosterSmall, now_);
  EXPECT_FALSE(output.failed.ok());
  EXPECT_THAT(output.faulty, testing::IsEmpty());
}

// Its nonce counts; its group does not wait for it.
TEST_F(MaskingDraw, OneThatAbortsAfterItsNonceIsLost) {
  CommitAll();
  const MaskingDesk::Answer answer = DeskOf("ada").On(Arrived(draw_->said()[0]));
  Give("ada", answer.bytes);
  const secagg::Abort abort{.id = secagg::Decode<secagg::Pool>(draw_->said()[0])->pool,
                            .reason = secagg::Reason::kPolicy};
  const auto output = draw_->OnMessage(MemberOf("ada"), secagg::Encode(abort), now_);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(output->failed.ok());
  EXPECT_THAT(output->lost, testing::ElementsAre(testing::Pair("ada", "POLICY: by its own word")));
  EXPECT_TRUE(draw_->gone().contains("ada"));
}

TEST_F(MaskingDraw, ATooSmallPoolFailsWithAReasonAndTellsThoseWhoCommitted) {
  for (const std::string& name : {names_[0], names_[1], names_[2]}) {
    Give(name, *DeskOf(name).Begin(task_));
  }
  const auto output = draw_->OnTime(std::chrono::minutes(5));
  EXPECT_EQ(secagg::ReasonOf(output.failed), secagg::Reason::kRosterSmall);
  EXPECT_THAT(std::string(output.failed.message()), testing::HasSubstr("commitments: got 3"));
  EXPECT_EQ(output.lost.size(), names_.size() - 3);
  EXPECT_THAT(output.faulty, testing::IsEmpty());
  ASSERT_EQ(output.send.size(), 1u);
  EXPECT_EQ(output.send[0].clients.size(), 3u);
  EXPECT_EQ(KindOf(output.send[0].bytes), MessageKind::kAbort);
  EXPECT_FALSE(draw_->NextDeadline().has_value());
}

TEST_F(MaskingDraw, KeysAndRostersComeNotBeforeTheGroups) {
  CommitAll();
  secagg::Roster roster;
  const MaskingDesk::Answer answer = DeskOf("ada").On(Arrived(secagg::Encode(roster)));
  EXPECT_FALSE(answer.refused.has_value());
  EXPECT_EQ(answer.bytes, "");
  EXPECT_EQ(KindOf(DeskOf("ada").On(Arrived(draw_->said()[0])).bytes), MessageKind::kReveal);
}

// What only the draw knows of, before there are groups: the session would take it for another's.
TEST_F(MaskingDraw, AnAbortBeforeTheGroupsEndsTheDraw) {
  CommitAll();
  const secagg::Abort abort{.id = secagg::Decode<secagg::Pool>(draw_->said()[0])->pool,
                            .reason = secagg::Reason::kRosterSmall};
  (void)DeskOf("ada").On(Arrived(secagg::Encode(abort)));
  EXPECT_EQ(DeskOf("ada").On(Arrived(draw_->said()[0])).bytes, "");
}

TEST_F(MaskingDraw, ALostNonceEndsItAtTheDeadlineAndExcludesItsClient) {
  CommitAll();
  EXPECT_TRUE(draw_->OnTime(std::chrono::minutes(0)).failed.ok());
  for (const std::string& name : names_) {
    if (name != "ada") Give(name, DeskOf(name).On(Arrived(draw_->said()[0])).bytes);
  }
  const auto output = draw_->OnTime(std::chrono::minutes(5));
  EXPECT_THAT(std::string(output.failed.message()), testing::HasSubstr("sent no nonce within"));
  EXPECT_TRUE(output.repeatable);
  ASSERT_EQ(output.faulty.size(), 1u);
  EXPECT_EQ(output.faulty[0].first, "ada");
}

// Then it is the coordinator that nobody reached: of five, two are too many to be at fault.
TEST_F(MaskingDraw, ManyLostNoncesEndItAndExcludeNobody) {
  CommitAll();
  for (const char* name : {"ada", "bob", "cid"}) {
    Give(name, DeskOf(name).On(Arrived(draw_->said()[0])).bytes);
  }
  const auto output = draw_->OnTime(std::chrono::minutes(5));
  EXPECT_THAT(std::string(output.failed.message()),
              testing::HasSubstr("2 of 5 clients sent no nonce within"));
  EXPECT_TRUE(output.repeatable);
  EXPECT_THAT(output.faulty, testing::IsEmpty());
  EXPECT_THAT(output.lost, testing::IsEmpty());
  ASSERT_EQ(output.send.size(), 1u);
  EXPECT_EQ(output.send[0].clients.size(), names_.size());  // told that it is over
}

}  // namespace
}  // namespace rivulet
