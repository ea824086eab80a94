#include "coordinator/cli/job_watch.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

TEST(JobWatch, TheLiveLineHasEpsilonSurvivorsAndBytesRawAndSent) {
  v1::Job job;
  job.set_round(2);
  job.set_num_rounds(4);
  job.set_bytes_up(1536);
  job.set_raw_bytes_up(6144);
  job.set_epsilon(3.2141);
  v1::Round& done = *job.add_rounds();
  done.set_state("done");
  for (const char* name : {"a", "b", "c"}) done.add_cohort(name);
  for (const char* name : {"a", "c"}) done.add_reported(name);
  v1::Round& open = *job.add_rounds();
  open.set_state("open");
  open.add_cohort("a");
  const ProgressState state = ProgressOf(job);
  EXPECT_EQ(state.survivors, "2/3");
  EXPECT_EQ(state.clients, "0/1 reported");
  EXPECT_EQ(state.epsilon, "3.215");
  EXPECT_EQ(state.uplink_bytes, 1536u);
  EXPECT_EQ(state.raw_bytes, 6144u);
  EXPECT_LT(state.loss, 0) << "a noised job has none";
  job.set_elapsed_ms(90000);
  EXPECT_EQ(ProgressOf(job).elapsed, std::chrono::seconds(90));
  job.mutable_rounds(0)->set_tokens(10);
  job.mutable_rounds(0)->set_loss(2);
  EXPECT_EQ(ProgressOf(job).loss, 2);
}

TEST(JobWatch, WithoutAReleaseThereIsNoEpsilon) {
  const ProgressState state = ProgressOf(v1::Job());
  EXPECT_EQ(state.epsilon, "");
  EXPECT_EQ(state.survivors, "");
}

}  // namespace
}  // namespace rivulet
