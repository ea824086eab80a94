// Keys that nobody set, beside masks and noise.
#include <gtest/gtest.h>

#include "common/job/job_file.h"

namespace rivulet {
namespace {

// The words of a page that knows nothing of the other keys.
constexpr char kFewLines[] = R"(
[model]
name = "m"
[compression]
codec = "int8"
[secure-aggregation]
enabled = true
[privacy]
mechanism = "distributed"
noise = "discrete-gaussian"
clip-norm = 1.0
target-epsilon = 8.0
target-delta = 1e-5
)";

TEST(PrivateDefaults, AFewLinesAreEnough) {
  const auto job = ParseJob(kFewLines, "job.toml");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_TRUE(job->Validate().ok()) << job->Validate();
  EXPECT_EQ(job->spec.strategy.weighting, "uniform");
  EXPECT_EQ(job->spec.data.held_out_fraction, 0);
  EXPECT_EQ(job->notes.size(), 2u);
  const auto printed = ParseJob(JobToml(job->spec), "printed.toml");
  ASSERT_TRUE(printed.ok()) << printed.status();
  EXPECT_TRUE(printed->notes.empty());
  EXPECT_EQ(JobToml(printed->spec), JobToml(job->spec));
}

TEST(PrivateDefaults, NoDefaultMovesWithoutMasksOrNoise) {
  const auto job = ParseJob("", "job.toml");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->spec.strategy.weighting, "tokens");
  EXPECT_EQ(job->spec.data.held_out_fraction, DataSection{}.held_out_fraction);
  EXPECT_TRUE(job->notes.empty());
}

TEST(PrivateDefaults, WhatIsSetOrAskedForStays) {
  const auto with = [](std::vector<std::string> sets) {
    sets.push_back("secure-aggregation.enabled=true");
    sets.push_back("privacy.mechanism=distributed");
    return ParseJob("", "job.toml", {}, sets)->spec;
  };
  EXPECT_EQ(with({"strategy.weighting=tokens"}).strategy.weighting, "tokens");
  EXPECT_EQ(with({"data.held-out-fraction=0.2"}).data.held_out_fraction, 0.2);
  EXPECT_EQ(with({"privacy.evaluate-in-clear=true"}).data.held_out_fraction, 0.1);
  EXPECT_EQ(with({"evaluate.every=2"}).data.held_out_fraction, 0.1);
}

TEST(PrivateDefaults, DirectionsFollowFromTheSessionWhereThereIsOne) {
  const auto drawn_from = [](std::vector<std::string> sets) {
    sets.push_back("scalars.enabled=true");
    return ParseJob("", "job.toml", {}, sets)->spec.scalars.drawn_from;
  };
  EXPECT_EQ(drawn_from({"secure-aggregation.enabled=true"}), "session");
  EXPECT_EQ(drawn_from({"secure-aggregation.enabled=true", "scalars.drawn-from=job"}), "job");
  EXPECT_EQ(drawn_from({"secure-aggregation.enabled=true", "scalars.pool=64"}), "job");
  EXPECT_EQ(drawn_from({"secure-aggregation.enabled=true", "robust.groups=4"}), "job");
  EXPECT_EQ(drawn_from({}), "job");
}

TEST(PrivateDefaults, AVoteHasOneWeight) {
  const auto job = ParseJob("", "job.toml", {}, {"scalars.enabled=true", "scalars.combine=vote"});
  EXPECT_EQ(job->spec.strategy.weighting, "uniform");
  EXPECT_EQ(job->notes.size(), 1u);
  EXPECT_TRUE(ParseJob("", "job.toml", {}, {"scalars.enabled=true"})->notes.empty());
}

TEST(PrivateDefaults, MasksAloneKeepHeldOutFigures) {
  const JobSpec masked = ParseJob("", "job.toml", {}, {"secure-aggregation.enabled=true"})->spec;
  EXPECT_EQ(masked.strategy.weighting, "uniform");
  EXPECT_EQ(masked.data.held_out_fraction, 0.1);
}

}  // namespace
}  // namespace rivulet
