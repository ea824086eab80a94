// Clients whose shares are wrong: named, left out from then on, and no end of the job.
#include <gmock/gmock.h>

#include "masked_fixture.h"

namespace rivulet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// What four say of f's shares.
const std::map<std::string, std::string> kFourLies = {
    {"a", "f"}, {"b", "f"}, {"c", "f"}, {"d", "f"}};

class FaultyShares : public MaskedFederationTest {
 protected:
  JobView RunAll(const JobSpec& spec) {
    StartPrivate(spec);
    ConnectMembers(kSix);
    job_ = Submit();
    return Run(job_);
  }
  // Whether the job's model is the first one moved by these clients in a round.
  void ExpectOneMoveBy(const std::vector<std::string>& clients, uint64_t round) {
    const ParameterSet first = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
    ParameterSet want = PlainMean(clients, round, Sha256Hex(SafetensorsBytes(first)));
    for (size_t row = 0; row < want.size(); ++row) {
      for (size_t at = 0; at < want.floats(row).size(); ++at) {
        want.floats(row)[at] += first.floats(row)[at];
      }
    }
    EXPECT_LT(LargestDifference(StateOf(*federation_, *blobs_, job_), want), StepOf(spec_));
  }
  std::string job_;
  const std::vector<std::string> five_ = {"a", "b", "c", "d", "e"};
};

// Nobody has given a share away yet: the round is repeated without the one that dealt them.
TEST_F(FaultyShares, SharesThatDoNotOpenCostOneAttempt) {
  dealing_rubbish_ = {"f"};
  JobSpec spec = MaskedToySpec();
  spec.job.num_rounds = 1;
  const JobView view = RunAll(spec);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  ASSERT_EQ(view.rounds.size(), 2u);
  EXPECT_EQ(view.rounds[0].state, RoundState::kAbandoned);
  EXPECT_THAT(view.rounds[0].reason, HasSubstr("dealt by 'f'"));
  EXPECT_EQ(view.rounds[1].cohort, five_);
  EXPECT_THAT(view.excluded, ElementsAre("f: dealt shares that belong to no secret"));
  ExpectOneMoveBy(five_, 1);
}

// Two right ones are too few for any threshold, whatever is left out. The clients have answered for
// this round: it is lost, and the next one goes on from the same state.
TEST_F(FaultyShares, SharesOfNoSecretCostTheRoundAndNotTheJob) {
  lies_ = kFourLies;
  const JobView view = RunAll(MaskedToySpec());
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  ASSERT_EQ(view.rounds.size(), 2u);
  EXPECT_EQ(view.rounds[0].round, 1u);
  EXPECT_EQ(view.rounds[0].state, RoundState::kAbandoned);
  EXPECT_THAT(view.rounds[0].reason, HasSubstr("dealt by 'f'"));
  EXPECT_EQ(view.rounds[1].round, 2u);
  EXPECT_EQ(view.rounds[1].reported, five_);
  EXPECT_THAT(view.excluded, ElementsAre("f: dealt shares that belong to no secret"));
  ExpectOneMoveBy(five_, 2);
}

TEST_F(FaultyShares, WhoIsExcludedStaysSoAfterARestart) {
  dealing_rubbish_ = {"f"};
  StartPrivate(MaskedToySpec());
  ConnectMembers(kSix);
  job_ = Submit();
  while (Show(job_).excluded.empty()) ASSERT_TRUE(Once());
  RestartPrivate();
  EXPECT_EQ(Show(job_).excluded.size(), 1u);
  ConnectMembers(kSix);
  const JobView view = Run(job_);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  EXPECT_EQ(view.rounds.back().reported, five_);
}

TEST_F(FaultyShares, ALostRoundIsLostAfterARestartToo) {
  lies_ = kFourLies;
  JobSpec spec = MaskedToySpec();
  spec.evaluate.ema = 0.9;  // of which a lost round has none
  StartPrivate(spec);
  ConnectMembers(kSix);
  job_ = Submit();
  while (Show(job_).round == 0) ASSERT_TRUE(Once());
  const std::string state = Show(job_).state_hash;
  RestartPrivate();
  EXPECT_EQ(Show(job_).round, 1u);
  EXPECT_EQ(Show(job_).state_hash, state);
  ConnectMembers(kSix);
  const JobView view = Run(job_);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  ExpectOneMoveBy(five_, 2);
}

TEST_F(FaultyShares, TheLastRoundLostIsTheEndOfTheJob) {
  lies_ = kFourLies;
  JobSpec spec = MaskedToySpec();
  spec.job.num_rounds = 1;
  const JobView view = RunAll(spec);
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_EQ(view.round, 0u);
  EXPECT_THAT(view.reason, HasSubstr("round 1 cannot be repeated"));
  EXPECT_THAT(view.reason, HasSubstr("dealt by 'f'"));
}

TEST_F(FaultyShares, TheJobEndsWhenTooFewAreLeft) {
  dealing_rubbish_ = {"f"};
  JobSpec spec = MaskedToySpec();
  spec.job.min_clients = 6;
  const JobView view = RunAll(spec);
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_THAT(view.reason, HasSubstr("5 of 6 nodes"));
  EXPECT_EQ(view.excluded.size(), 1u);
}

}  // namespace
}  // namespace rivulet
