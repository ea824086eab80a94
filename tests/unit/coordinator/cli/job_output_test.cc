#include "coordinator/cli/job_output.h"

#include <gmock/gmock.h>

#include <limits>
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

TEST(JobOutput, CodedBytesAreShownBesideThoseTheyStandFor) {
  v1::Job job;
  job.set_bytes_up(3 << 20);
  job.set_raw_bytes_up(3 << 20);
  EXPECT_THAT(JobText(job), HasSubstr("bytes       3.0 MiB up, 0 B down\n"));
  job.set_raw_bytes_up(12 << 20);
  EXPECT_THAT(JobText(job), HasSubstr("bytes       3.0 MiB up of 12.0 MiB raw, 0 B down\n"));
  EXPECT_EQ(json::parse(JobJson(job))["raw_bytes_up"], 12 << 20);
}

TEST(JobOutput, ARoundOfClassificationCountsExamples) {
  v1::Job job;
  job.add_rounds()->set_tokens(640);
  EXPECT_THAT(JobText(job), HasSubstr("  640 tokens  "));
  job.set_document(R"({"spec":{"data.task":"classification"}})");
  EXPECT_THAT(JobText(job), HasSubstr("  640 examples  "));
}

TEST(JobOutput, WhatMasksCostIsShownBesideTheUpdates) {
  v1::Job job;
  EXPECT_THAT(JobText(job), Not(HasSubstr("masking")));
  job.set_protocol_bytes_up(3 << 10);
  job.add_rounds()->set_protocol_bytes_up(1 << 10);
  EXPECT_THAT(JobText(job), HasSubstr("masking     3.0 KiB up in keys and shares\n"));
  EXPECT_EQ(json::parse(JobJson(job))["protocol_bytes_up"], 3 << 10);
  EXPECT_EQ(json::parse(JobJson(job))["rounds"][0]["protocol_bytes_up"], 1 << 10);
}

// A document of 2 MiB of '[': printing it would need a call for each.
TEST(JobOutput, ADocumentNestedTooDeeplyIsLeftOut) {
  v1::Job job;
  job.set_document(R"({"job":{"name":["a"]}})");
  EXPECT_EQ(json::parse(JobJson(job))["document"]["job"]["name"][0], "a");
  job.set_document(std::string(1 << 20, '[') + std::string(1 << 20, ']'));
  EXPECT_TRUE(json::parse(JobJson(job))["document"].is_null());
}

TEST(JobOutput, TimesFarAwayAreStillPrinted) {
  v1::Job job;
  job.set_elapsed_ms(std::numeric_limits<int64_t>::max());
  EXPECT_THAT(JobText(job), HasSubstr("elapsed     2443359:10:22\n"));
  job.set_elapsed_ms(std::numeric_limits<int64_t>::min());
  EXPECT_THAT(JobText(job), HasSubstr("elapsed     00:00\n"));
  v1::NodesReply nodes;
  nodes.add_nodes()->set_certificate_expiry_s(1'700'000'000);
  EXPECT_EQ(json::parse(NodeListJson(nodes))["items"][0]["certificate_expires"],
            "2023-11-14T22:13:20.000Z");
  nodes.mutable_nodes(0)->set_certificate_expiry_s(int64_t{1} << 55);
  EXPECT_THAT(NodeListJson(nodes), HasSubstr("\"certificate_expires\":\"1141709097-"));
}

// Rounded up: never less than was spent.
TEST(JobOutput, EpsilonIsShownBesideItsTarget) {
  v1::Job job;
  EXPECT_THAT(JobText(job), Not(HasSubstr("epsilon")));
  job.set_epsilon(3.2141);
  job.set_delta(1e-5);
  EXPECT_THAT(JobText(job), HasSubstr("privacy     epsilon 3.215 at delta 1e-05\n"));
  job.set_target_epsilon(8);
  EXPECT_THAT(JobText(job), HasSubstr("privacy     epsilon 3.215 at delta 1e-05 of 8\n"));
  EXPECT_EQ(json::parse(JobJson(job))["epsilon"], 3.2141);
  EXPECT_EQ(json::parse(JobJson(job))["delta"], 1e-5);
}

TEST(JobOutput, WhatEpsilonDoesNotCountIsSaid) {
  v1::Job job;
  EXPECT_THAT(JobText(job), Not(HasSubstr("held-out figures")));
  EXPECT_EQ(json::parse(JobJson(job))["evaluates_in_clear"], false);
  job.set_evaluates_in_clear(true);
  EXPECT_THAT(JobText(job), HasSubstr("privacy     held-out figures left clients without noise: "
                                      "epsilon does not count them\n"));
  EXPECT_EQ(json::parse(JobJson(job))["evaluates_in_clear"], true);
}

TEST(JobOutput, WhoTakesPartNoMoreIsNamed) {
  v1::Job job;
  EXPECT_THAT(JobText(job), Not(HasSubstr("excluded")));
  job.add_excluded("eve: dealt shares that belong to no secret");
  EXPECT_THAT(JobText(job), HasSubstr("excluded    eve: dealt shares that belong to no secret\n"));
  EXPECT_EQ(json::parse(JobJson(job))["excluded"],
            json::parse(R"(["eve: dealt shares that belong to no secret"])"));
}

TEST(JobOutput, WhoARobustRuleLeftOutIsNamed) {
  v1::Job job;
  v1::Round& round = *job.add_rounds();
  round.add_left_out("mallory");
  round.add_left_out("trudy");
  round.set_raw_bytes_up(5);
  EXPECT_THAT(JobText(job), HasSubstr(" s  left out: mallory, trudy\n"));
  const json row = json::parse(JobJson(job))["rounds"][0];
  EXPECT_EQ(row["left_out"], json({"mallory", "trudy"}));
  EXPECT_EQ(row["raw_bytes_up"], 5);
}

}  // namespace
}  // namespace rivulet
