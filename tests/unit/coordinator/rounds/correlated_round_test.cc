// Noise that rounds share: the tree and the factorisation.
#include <cmath>
#include <map>

#include "coordinator/rounds/aggregate.h"
#include "privacy/dp/exact_gaussian.h"
#include "private_fixture.h"

namespace rivulet {
namespace {

class CorrelatedRounds : public PrivateRounds {};

JobSpec CorrelatedSpec(const std::string& correlation) {
  JobSpec spec = CentralSpec();
  spec.job.num_rounds = 6;
  spec.job.clients_per_round = 2;
  spec.privacy.correlation = correlation;
  spec.privacy.min_separation = 3;
  return spec;
}

// Whoever is in a frozen set rests for two rounds.
void ExpectSeparated(const JobView& view) {
  std::map<std::string, uint64_t> last;
  for (const RoundView& round : view.rounds) {
    EXPECT_EQ(round.reported.size(), 2u) << round.round;
    for (const std::string& client : round.reported) {
      if (last.contains(client)) EXPECT_GE(round.round, last[client] + 3) << client;
      last[client] = round.round;
    }
  }
}

TEST_F(CorrelatedRounds, ATreeIsChargedOnceForAllRoundsAndCohortsKeepTheSeparation) {
  const JobView view = Run(Finish(CorrelatedSpec("tree")));
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  ExpectSeparated(view);
  const std::vector<LedgerRow> rows = Ledger();
  ASSERT_EQ(rows.size(), 6u);
  for (const LedgerRow& row : rows) {
    EXPECT_EQ(row.mechanism, DpMechanism::kTree);
    EXPECT_EQ(RelationOf(*row.Event()), RelationName::kZeroOut);
    EXPECT_EQ(row.relation, RelationName::kZeroOut);
    EXPECT_EQ(row.steps, 6);
    EXPECT_EQ(row.max_participation, 2);
    EXPECT_EQ(row.min_separation, 2);
    EXPECT_EQ(row.seed_commitment, rows[0].seed_commitment);
    // At most two of six rounds: 1 and 4 have leaves of 1 + 1, pairs of 1 + 1, and 2^2 in the node
    // of four. mu = sqrt(8), exactly.
    EXPECT_NEAR(row.eps_pld, ExactGaussianEpsilon(std::sqrt(8.0), 1e-5), 1e-9);
  }
  EXPECT_EQ(states_->Load()->secrets.size(), 0u) << "the seed ends with the job";
}

TEST_F(CorrelatedRounds, AFactorisationCostsOneReleaseOfItsMultiplier) {
  const JobView view = Run(Finish(CorrelatedSpec("banded")));
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  ExpectSeparated(view);
  const std::vector<LedgerRow> rows = Ledger();
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(rows[5].mechanism, DpMechanism::kBanded);
  EXPECT_NEAR(rows[0].eps_pld, ExactGaussianEpsilon(1, 1e-5), 1e-9);
  EXPECT_EQ(rows[5].eps_pld, rows[0].eps_pld);
}

TEST_F(CorrelatedRounds, ARunThatTheBudgetDoesNotHoldReleasesNothing) {
  JobSpec spec = CorrelatedSpec("tree");
  spec.privacy.target_epsilon = 5;
  const JobView view = Run(Finish(spec));
  EXPECT_EQ(view.exit_code, static_cast<int>(ExitCode::kBudget));
  EXPECT_TRUE(Ledger().empty());
}

// The same job twice from the same stored seed: once through, once with a restart before every
// step. Both give the same models, and the separation outlives the restarts.
TEST_F(CorrelatedRounds, CorrelatedNoiseAndTheSeparationOutliveRestarts) {
  for (const char* correlation : {"tree", "banded"}) {
    const JobSpec spec = CorrelatedSpec(correlation);
    states_ = MakeMemoryStateStore();
    blobs_ = MakeMemoryBlobStore();
    const std::string job = Finish(spec);
    const StoredState begun = *states_->Load();
    ASSERT_EQ(begun.secrets.size(), 1u);
    const JobView once = Run(job);
    ASSERT_EQ(once.state, JobState::kFinished) << once.reason;

    states_ = MakeMemoryStateStore();
    ASSERT_TRUE(states_
                    ->Commit({PutJob{begun.jobs[0]}, PutModel{begun.models[0]},
                              SetSecret{begun.secrets[0]}})
                    .ok());
    blobs_ = MakeMemoryBlobStore();
    const JobPlan plan = *ToyPlanner(spec)("toy");
    ASSERT_EQ(StoreInitialState(*blobs_, plan, nullptr)->sha256, begun.models[0].sha256);
    for (int step = 0; step < 200; ++step) {
      RestartPrivate();
      ConnectMembers(kAll);
      clock_.Advance(seconds(5));
      if (Show(job).ended()) break;
      Once();
    }
    const JobView again = Show(job);
    ASSERT_EQ(again.state, JobState::kFinished) << again.reason;
    ExpectSeparated(again);
    EXPECT_EQ(again.state_hash, once.state_hash) << correlation;
  }
}

}  // namespace
}  // namespace rivulet
