#include <gmock/gmock.h>

#include "client/agent/failure_report.h"
#include "tests/unit/client/agent/masked_cohort.h"

// An attempt is bound to one global state and one job document. A coordinator that gives a client
// others under the same key could tell its part of the sum from the rest.

namespace rivulet {
namespace {

using testing::HasSubstr;

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
