#include <gmock/gmock.h>

#include "client/agent/failure_report.h"
#include "tests/unit/client/agent/masked_cohort.h"

// An attempt is bound to one global state and one job document. A coordinator that gives a client
// others under the same key could tell its part of the sum from the rest.

namespace rivulet {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class MaskingBindingTest : public MaskedCohort {
 protected:
  // The task of the attempt with another state, and with another document.
  std::vector<Assignment> Others() const {
    Assignment state = task_, document = task_;
    state.state_sha256 = std::string(64, '5');
    JobDocument changed = document_;
    changed.spec.job.seed += 1;
    document.job_document = JobDocumentText(changed);
    return {state, document};
  }
};

TEST_F(MaskingBindingTest, TheSameAttemptIsNotBegunWithAnotherStateOrDocument) {
  BeginAll();
  for (const Assignment& other : Others()) {
    const auto said = Start("ada").Begin(other);  // the session comes from the disk
    EXPECT_EQ(said.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(ReportOf(said.status()).text, HasSubstr("another state, document or parameters"));
    EXPECT_TRUE(Start("ada").Begin(task_).ok());
    EXPECT_FALSE(DeskOf("ada").Begin(other).ok());  // nor of a process that goes on
  }
}

// A round that is not begun in the end leaves the one in hand as it was, on the disk too.
TEST_F(MaskingBindingTest, ATaskWithWrongParametersEndsNoEarlierRound) {
  BeginAll();
  const Assignment good = task_;
  const std::vector<Mail> roster = mail_;
  Assignment wrong = task_, denied = task_;
  wrong.key.round = 9;  // with the parameters of round 1
  Invite(1, 8);
  denied.key = task_.key;
  denied.masking = task_.masking;
  EXPECT_THAT(ReportOf(DeskOf("ada").Begin(wrong).status()).text, StartsWith("PARAMS"));
  policy_.masking.n_min = 6;
  EXPECT_THAT(ReportOf(DeskOf("ada").Begin(denied).status()).text, StartsWith("POLICY"));
  policy_.masking.n_min = 4;
  task_ = good;
  Start("ada");  // a floor of 8 or 9 would keep round 1 from going on
  for (const Mail& message : roster) {
    if (message.client != "ada") continue;
    EXPECT_FALSE(DeskOf("ada").On(Said(message.bytes)).bytes.empty());
  }
}

// The roster names certificates: with another one this agent has no place in it.
TEST_F(MaskingBindingTest, ACertificateRenewedBeforeARestartEndsTheAttempt) {
  BeginAll();
  CarryAll();
  Renew("ada");
  EXPECT_EQ(FileOf(Start("ada"), "ada").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(DeskOf("ada").Begin(task_).ok());  // nor is it advertised twice
  Invite(2);
  EXPECT_TRUE(DeskOf("ada").Begin(task_).ok());
}

TEST_F(MaskingBindingTest, AnUpdateOfAnotherStateOrDocumentIsNotMasked) {
  BeginAll();
  CarryAll();
  for (const Assignment& other : Others()) {
    for (const bool restart : {false, true}) {
      MaskingDesk& desk = restart ? Start("ada") : DeskOf("ada");
      LocalUpdate update = UpdateOf("ada");
      const auto file = desk.File(other, update, {});
      EXPECT_EQ(file.status().code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_THAT(ReportOf(file.status()).text, HasSubstr("the update is of another state"));
    }
  }
  EXPECT_TRUE(FileOf(DeskOf("ada"), "ada").ok());
}

}  // namespace
}  // namespace rivulet
