// Whole jobs of a small model in which most clients lie, and one is trusted.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/simulations/engine/letters.h"
#include "tests/unit/simulations/engine/lying_tuner.h"

namespace rivulet {
namespace {

using testing::LetterJob;

const std::vector<std::string> kHonest = {"ada", "bob", "own"};
const std::vector<std::string> kLiars = {"xan", "yve", "zoe"};

JobSpec TrustingJob() {
  JobSpec spec = LetterJob();
  spec.robust.rule = "fltrust";
  spec.robust.trusted_client = "own";
  return spec;
}

JobView RunWithLiars(const JobSpec& spec) {
  std::vector<std::string> clients = kHonest;
  clients.insert(clients.end(), kLiars.begin(), kLiars.end());
  // The other way, five times as far.
  return testing::RunLetters(
             spec, clients, [](const JobEvent&) {}, testing::LyingTuners(kLiars, -5))
      .view;
}

TEST(TrustedSimulation, LearnsWhereMostClientsLieAndTheMeanDoesNot) {
  const JobView mean = RunWithLiars(LetterJob());
  ASSERT_EQ(mean.state, JobState::kFinished) << mean.reason;
  EXPECT_GT(mean.evaluations[1].loss, mean.evaluations[0].loss);

  const JobView trusting = RunWithLiars(TrustingJob());
  ASSERT_EQ(trusting.state, JobState::kFinished) << trusting.reason;
  RecordProperty("loss_before", std::to_string(trusting.evaluations[0].loss));
  RecordProperty("loss_mean", std::to_string(mean.evaluations[1].loss));
  RecordProperty("loss_trusting", std::to_string(trusting.evaluations[1].loss));
  EXPECT_LT(trusting.evaluations[1].loss, trusting.evaluations[0].loss - 0.05);
  for (const RoundView& round : trusting.rounds) {
    EXPECT_EQ(round.figures.left_out, kLiars);
    EXPECT_EQ(round.reported.size(), 6u);
  }
}

TEST(TrustedSimulation, HasTheTrustedClientInEveryCohort) {
  JobSpec spec = TrustingJob();
  spec.job.clients_per_round = 2;
  spec.job.num_rounds = 4;
  const JobView view = RunWithLiars(spec);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  std::set<std::string> seen;
  for (const RoundView& round : view.rounds) {
    EXPECT_EQ(round.reported.size(), 3u);
    EXPECT_EQ(std::count(round.reported.begin(), round.reported.end(), "own"), 1);
    seen.insert(round.reported.begin(), round.reported.end());
  }
  EXPECT_GT(seen.size(), 3u);  // the others change
  EXPECT_EQ(RunWithLiars(spec).state_hash, view.state_hash);
}

}  // namespace
}  // namespace rivulet
