#include "coordinator/ops/round_metrics.h"

#include <gmock/gmock.h>

#include "tests/unit/coordinator/rounds/federation_fixture.h"

namespace rivulet {
namespace {

using testing::HasSubstr;
using testing::Not;

using RoundMetricsTest = FederationTest;

std::string PageOf(RoundMetrics& metrics, const std::set<std::string>& jobs) {
  Exposition page;
  metrics.WriteTo(page, jobs);
  return page.text();
}

TEST_F(RoundMetricsTest, OutcomesWaitsAndHeldOutFiguresOfAJob) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 2;
  Start(spec);
  RoundMetrics metrics(*federation_);
  const std::string id = Submit();
  Pass(seconds(20));  // nobody is there
  EXPECT_THAT(PageOf(metrics, {id}), Not(HasSubstr("fl_job")));
  Connect({"a", "b", "c"});
  OpenFirstRound();
  Pass(seconds(101));  // nobody reports: the first attempt is abandoned
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  ASSERT_EQ(Show(id).state, JobState::kFinished) << Show(id).reason << Show(id).waiting;

  const std::string page = PageOf(metrics, {id, "other"});
  EXPECT_THAT(page, HasSubstr("rivulet_rounds_total{outcome=\"completed\"} 2\n"));
  EXPECT_THAT(page, HasSubstr("rivulet_rounds_total{outcome=\"abandoned\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("rivulet_round_duration_seconds_count 2\n"));
  // Two evaluations and three attempts; the first of the five waited 20 s.
  EXPECT_THAT(page, HasSubstr("rivulet_round_wait_seconds_bucket{le=\"15\"} 4\n"));
  EXPECT_THAT(page, HasSubstr("rivulet_round_wait_seconds_sum 20\n"));
  EXPECT_THAT(page, HasSubstr("rivulet_round_wait_seconds_count 5\n"));
  EXPECT_THAT(page, HasSubstr("rivulet_global_loss{fl_job=\"" + id + "\"} 1.5\n"));
  EXPECT_THAT(page, HasSubstr("rivulet_global_accuracy_ratio{fl_job=\"" + id + "\"} 0.5\n"));
  EXPECT_THAT(PageOf(metrics, {"other"}), Not(HasSubstr("fl_job")));
  EXPECT_THAT(PageOf(metrics, {id}), Not(HasSubstr("fl_job")));  // forgotten
}

}  // namespace
}  // namespace rivulet
