#include "coordinator/cli/job_output.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace rivulet {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

TEST(JobOutput, JobsThatDidNotFitAreCounted) {
  v1::ListReply jobs;
  jobs.add_jobs()->set_id("j-1");
  EXPECT_THAT(JobTable(jobs), Not(HasSubstr("left out")));
  EXPECT_EQ(json::parse(JobListJson(jobs))["left_out"], 0);
  jobs.set_left_out(12);
  EXPECT_THAT(JobTable(jobs), HasSubstr("\n  (12 older jobs left out)\nj-1 "));
  EXPECT_EQ(json::parse(JobListJson(jobs))["left_out"], 12);
}

TEST(JobOutput, RoundsAndEvaluationsThatDidNotFitAreCounted) {
  v1::Job job;
  job.add_rounds()->set_round(901);
  job.add_evaluations()->set_round(900);
  EXPECT_THAT(JobText(job), Not(HasSubstr("left out")));
  job.set_rounds_left_out(900);
  job.set_evaluations_left_out(7);
  EXPECT_THAT(JobText(job), HasSubstr("\n  (900 older rounds left out)\n  round  901."));
  EXPECT_THAT(JobText(job), HasSubstr("\n  (7 older evaluations left out)\n  after round  900:"));
  const json document = json::parse(JobJson(job));
  EXPECT_EQ(document["rounds_left_out"], 900);
  EXPECT_EQ(document["evaluations_left_out"], 7);
}

}  // namespace
}  // namespace rivulet
