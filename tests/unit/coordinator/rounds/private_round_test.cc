// Rounds under differential privacy: noise, ledger, budget, secret cohorts.
#include <cmath>

#include "private_fixture.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

TEST_F(PrivateRounds, EveryClosedRoundHasOneRowAndEpsilonGrows) {
  const JobView view = Run(Finish(CentralSpec()));
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  const std::vector<LedgerRow> rows = Ledger();
  ASSERT_EQ(rows.size(), 3u);
  for (size_t row = 0; row < rows.size(); ++row) {
    EXPECT_EQ(rows[row].round, static_cast<int64_t>(row + 1));
    EXPECT_EQ(rows[row].survivors, 6);
    EXPECT_EQ(rows[row].z, 1);
    if (row > 0) EXPECT_GT(rows[row].eps_pld, rows[row - 1].eps_pld);
    EXPECT_LE(rows[row].eps_pld, rows[row].eps_rdp * (1 + 1e-6));
  }
  // Three Gaussian releases with z = 1 at delta 1e-5: mu = sqrt 3 in the exact formula.
  EXPECT_NEAR(rows[2].eps_pld, 8.3854189, 1e-5);
}

TEST_F(PrivateRounds, TheBudgetStopsTheJobBeforeItIsPassed) {
  JobSpec spec = CentralSpec();
  spec.job.num_rounds = 50;
  const JobView view = Run(Finish(spec));
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_EQ(view.exit_code, static_cast<int>(ExitCode::kBudget));
  EXPECT_THAT(view.reason, HasSubstr("epsilon"));
  ASSERT_FALSE(Ledger().empty());
  EXPECT_LE(Ledger().back().eps_pld, 20);
  EXPECT_EQ(view.round, Ledger().size());
}

// What a closed round that is computed again has for noise: repeated_release_test.cc.
TEST_F(PrivateRounds, APublishedRoundIsChargedOnceAndNotComputedAgain) {
  const std::string job = Finish(CentralSpec());
  while (Show(job).round == 0) ASSERT_TRUE(Once());
  const std::string once = Show(job).state_hash;
  const uint64_t round = Show(job).round;
  const StoredState stored = *states_->Load();
  ASSERT_EQ(stored.ledger.size(), round);
  ASSERT_EQ(stored.secrets.size(), 0u) << "the seed is erased once it has served";
  EXPECT_FALSE(once.empty());
  RestartPrivate();
  EXPECT_EQ(Show(job).state_hash, once);
}

// The accountant takes seconds: no caller of the federation waits for it, and it does not run
// under the lock.
TEST_F(PrivateRounds, ARoundOpensOnceTheWorkerHasPlannedItsRelease) {
  const std::string job = Finish(CentralSpec());
  for (size_t evaluation = 0; evaluation < kAll.size(); ++evaluation) ASSERT_TRUE(Once());
  EXPECT_TRUE(masked_.orders.empty());
  EXPECT_TRUE(Show(job).rounds.empty());
  federation_->Tick();
  ASSERT_EQ(Show(job).rounds.size(), 1u);
  EXPECT_EQ(masked_.orders.size(), kAll.size());
}

TEST_F(PrivateRounds, WithoutItsRowNoFurtherRoundOpens) {
  const std::string job = Finish(CentralSpec());
  while (Show(job).round == 0) ASSERT_TRUE(Once());
  // A store that has lost its ledger, everything else as it was.
  StoredState stored = *states_->Load();
  states_ = MakeMemoryStateStore();
  ASSERT_TRUE(states_->Commit({PutJob{stored.jobs[0]}}).ok());
  for (const ModelRecord& model : stored.models) {
    ASSERT_TRUE(states_->Commit({PutModel{model}}).ok());
  }
  for (const EvaluationRecord& evaluation : stored.evaluations) {
    ASSERT_TRUE(states_->Commit({PutEvaluation{evaluation}}).ok());
  }
  for (RoundRecord round : stored.rounds) {
    ASSERT_TRUE(states_->Commit({PutRound{round}}).ok());
  }
  RestartPrivate();
  ConnectMembers(kAll);
  const JobView view = Run(job);
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_THAT(view.reason, HasSubstr("row"));
  EXPECT_EQ(view.round, 1u);  // nothing was published after the loss
}

// Two jobs of one name count for one data set: what one is about to release counts for the other.
// One release costs 4.38, two 6.57, three 8.39 (z = 1, delta 1e-5, exact Gaussian).
class TwoJobs : public PrivateRounds {
 protected:
  bool IsOpen(const std::string& job) {
    const JobView view = Show(job);
    return !view.rounds.empty() && view.rounds.back().state == RoundState::kOpen;
  }
  void OpenBoth() {
    JobSpec spec = CentralSpec();
    spec.job.num_rounds = 1;
    first_ = Finish(spec);
    second_ = Submit();
    for (int step = 0; step < 500 && !(IsOpen(first_) && IsOpen(second_)); ++step) (void)Once();
    ASSERT_TRUE(IsOpen(first_) && IsOpen(second_));
  }
  std::string first_, second_;
};

TEST_F(TwoJobs, AnOpenRoundOfAnotherJobIsCounted) {
  OpenBoth();
  ASSERT_EQ(Run(first_).state, JobState::kFinished);
  ASSERT_EQ(Run(second_).state, JobState::kFinished);
  const std::vector<LedgerRow> rows = Ledger();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_NEAR(std::max(rows[0].eps_pld, rows[1].eps_pld), 6.57, 0.01);
}

// Both ask what they may release before either has an answer: the later one is asked anew.
TEST_F(TwoJobs, APlanIsMadeAgainWhenAnotherJobOpensMeanwhile) {
  JobSpec spec = CentralSpec();
  spec.job.num_rounds = 1;
  spec.privacy.target_epsilon = 5;
  first_ = Finish(spec);
  second_ = Submit();
  while (!masked_.orders.empty()) {  // evaluations, without a Tick
    const ToyGateway::Order order = masked_.orders.front();
    masked_.orders.pop_front();
    ASSERT_TRUE(ToyWork(*federation_, order).ok());
  }
  ASSERT_FALSE(IsOpen(first_) || IsOpen(second_));
  federation_->Tick();
  EXPECT_NE(IsOpen(first_), IsOpen(second_));
  const JobView refused = Show(IsOpen(first_) ? second_ : first_);
  EXPECT_EQ(refused.state, JobState::kFailed);
  EXPECT_EQ(refused.exit_code, static_cast<int>(ExitCode::kBudget));
}

TEST_F(TwoJobs, TheLedgerIsReadWholeOrOfOneJob) {
  OpenBoth();
  ASSERT_EQ(Run(first_).state, JobState::kFinished);
  ASSERT_EQ(Run(second_).state, JobState::kFinished);
  const auto all = *federation_->Ledger("");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].job, first_);
  EXPECT_EQ(all[1].job, second_);
  for (const ReleaseView& release : all) {
    EXPECT_EQ(release.round, 1u);
    EXPECT_EQ(LedgerRowFrom(release.row)->job, release.job);
    const auto one = *federation_->Ledger(release.job);
    ASSERT_EQ(one.size(), 1u);
    EXPECT_EQ(one[0].row, release.row);
  }
  EXPECT_EQ(federation_->Ledger("nobody's").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(TwoJobs, ARoundThatWasGivenUpIsCountedNoMore) {
  OpenBoth();
  ASSERT_TRUE(federation_->Stop(second_, true).ok());
  ASSERT_EQ(Run(first_).state, JobState::kFinished);
  ASSERT_EQ(Run(Submit()).state, JobState::kFinished);
  const std::vector<LedgerRow> rows = Ledger();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_NEAR(rows[1].eps_pld, 6.57, 0.01);
}

TEST_F(TwoJobs, AfterARestartOpenRoundsCountForEachOther) {
  OpenBoth();
  RestartPrivate();
  ConnectMembers(kAll);
  ASSERT_EQ(Run(first_).state, JobState::kFinished);
  ASSERT_EQ(Run(second_).state, JobState::kFinished);
  const std::vector<LedgerRow> rows = Ledger();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_NEAR(std::max(rows[0].eps_pld, rows[1].eps_pld), 6.57, 0.01);
}

// No caller waits for the accountant after a restart either: an open round goes on once the worker
// has found again what it will be charged.
TEST_F(PrivateRounds, AnOpenRoundGoesOnOnceTheWorkerHasPlannedItAgain) {
  const std::string job = Finish(CentralSpec());
  for (size_t evaluation = 0; evaluation < kAll.size(); ++evaluation) ASSERT_TRUE(Once());
  federation_->Tick();
  ASSERT_EQ(Show(job).rounds.size(), 1u);
  RestartPrivate();
  ConnectMembers(kAll);
  EXPECT_TRUE(masked_.orders.empty());
  federation_->Tick();
  EXPECT_EQ(masked_.orders.size(), kAll.size());
  ASSERT_EQ(Run(job).state, JobState::kFinished);
  EXPECT_EQ(Ledger().size(), 3u);
  EXPECT_NEAR(Ledger()[2].eps_pld, 8.3854189, 1e-5);  // as without a restart
}

// Whoever uploads or stops the job meanwhile is not kept waiting, and nothing closes unplanned.
TEST_F(PrivateRounds, WhatComesBeforeTheOpenRoundIsPlannedAgainIsDoneAfterwards) {
  const std::string job = Finish(CentralSpec());
  for (size_t evaluation = 0; evaluation < kAll.size(); ++evaluation) ASSERT_TRUE(Once());
  federation_->Tick();
  const std::deque<ToyGateway::Order> orders = masked_.orders;
  ASSERT_EQ(orders.size(), kAll.size());
  RestartPrivate();
  ConnectMembers(kAll);
  for (const ToyGateway::Order& order : orders) ASSERT_TRUE(ToyWork(*federation_, order).ok());
  EXPECT_EQ(Show(job).rounds.back().state, RoundState::kOpen);
  EXPECT_TRUE(Ledger().empty());
  federation_->Tick();
  EXPECT_EQ(Ledger().size(), 1u);
  EXPECT_EQ(Ledger()[0].survivors, 6);
  ASSERT_EQ(Run(job).state, JobState::kFinished);
}

// A budget that is spent meanwhile does not keep a job from stopping.
TEST_F(PrivateRounds, AJobThatIsStoppedBeforeItIsPlannedAgainStopsWhateverIsLeftOfTheBudget) {
  JobSpec spec = CentralSpec();
  spec.job.num_rounds = 1;
  spec.privacy.target_epsilon = 5;  // of one release, not of two
  ASSERT_EQ(Run(Finish(spec)).state, JobState::kFinished);
  LedgerRecord spent = states_->Load()->ledger.back();
  federation_.reset();
  states_ = MakeMemoryStateStore();  // another coordinator, without that release
  const std::string job = Finish(spec);
  for (size_t evaluation = 0; evaluation < kAll.size(); ++evaluation) ASSERT_TRUE(Once());
  federation_->Tick();
  ASSERT_EQ(Show(job).rounds.back().state, RoundState::kOpen);
  spent.job = job;
  ASSERT_TRUE(states_->Commit({PutLedger{spent}}).ok());
  RestartPrivate();
  ASSERT_TRUE(federation_->Stop(job, true).ok());
  federation_->Tick();
  EXPECT_EQ(Show(job).state, JobState::kStopped) << Show(job).reason;
}

TEST_F(TwoJobs, AfterARestartAnOpenRoundIsPlannedBeforeAnotherOpens) {
  JobSpec spec = CentralSpec();
  spec.job.num_rounds = 1;
  spec.privacy.target_epsilon = 5;  // of one release, not of two
  first_ = Finish(spec);
  while (!IsOpen(first_)) ASSERT_TRUE(Once());
  RestartPrivate();
  ConnectMembers(kAll);
  second_ = Submit();
  while (!masked_.orders.empty()) {  // evaluations of the second, without a Tick
    const ToyGateway::Order order = masked_.orders.front();
    masked_.orders.pop_front();
    ASSERT_TRUE(ToyWork(*federation_, order).ok());
  }
  federation_->Tick();
  EXPECT_TRUE(IsOpen(first_));
  EXPECT_EQ(Show(second_).state, JobState::kFailed);
  EXPECT_EQ(Show(second_).exit_code, static_cast<int>(ExitCode::kBudget));
  EXPECT_EQ(Run(first_).state, JobState::kFinished);
}

TEST_F(PrivateRounds, WithoutTheSecretOfItsCohortsAJobEnds) {
  JobSpec spec = CentralSpec();
  spec.job.num_rounds = 3;
  spec.job.fraction_train = 0.5;
  spec.privacy.sampling = "poisson";
  spec.privacy.population = 6;
  spec.privacy.noise_multiplier = 2;
  spec.privacy.target_delta = 1e-3;
  const std::string job = Finish(spec);
  ASSERT_TRUE(states_->Commit({DropSecrets{job, 0, 0}}).ok());
  RestartPrivate();
  const JobView view = Show(job);
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_EQ(view.exit_code, static_cast<int>(ExitCode::kState));
  EXPECT_THAT(view.reason, HasSubstr("got 0 bytes, want 32"));
}

TEST_F(PrivateRounds, UpdatesAreClippedByTheCoordinatorItself) {
  JobSpec spec = CentralSpec();
  spec.job.num_rounds = 1;
  spec.privacy.clip_norm = 1e-3;  // the toys' updates are far larger
  spec.privacy.noise_multiplier = 1e-3;
  spec.privacy.target_epsilon = 1e6;
  StartPrivate(spec);
  ConnectMembers(kAll);
  const std::string job = Submit();
  const JobView view = Run(job);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  const ParameterSet first = *ToyPlanner(spec)("toy")->initial(ParameterSet());
  std::string file;
  const std::vector<NamedBlob> downloads = *federation_->Downloads(job);
  for (const NamedBlob& blob : downloads) {
    if (blob.name == "state") file = *blobs_->Get(blob.sha256, blob.bytes);
  }
  const Manifest manifest = ToyManifest();
  const ParameterSet last = *ReadParameterSet(file, &manifest);
  double moved = 0;
  for (size_t row = 0; row < first.size(); ++row) {
    for (size_t at = 0; at < first.floats(row).size(); ++at) {
      const double step = double{last.floats(row)[at]} - first.floats(row)[at];
      moved += step * step;
    }
  }
  EXPECT_LE(std::sqrt(moved), 1.1e-3);
  EXPECT_GT(moved, 0);
}

TEST_F(PrivateRounds, SecretCohortsAreDrawnAndAnEmptyOneCounts) {
  JobSpec spec = CentralSpec();
  spec.job.num_rounds = 24;
  spec.job.fraction_train = 0.1;
  spec.privacy.sampling = "poisson";
  spec.privacy.population = 6;
  spec.privacy.noise_multiplier = 2;
  spec.privacy.target_delta = 1e-3;
  const JobView view = Run(Finish(spec));
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  const std::vector<LedgerRow> rows = Ledger();
  ASSERT_EQ(view.rounds.size(), 24u);
  ASSERT_EQ(rows.size(), 24u);
  size_t empty = 0;
  for (size_t row = 0; row < rows.size(); ++row) {
    const auto cohort = static_cast<int64_t>(view.rounds[row].cohort.size());
    empty += cohort == 0;
    EXPECT_EQ(rows[row].survivors, cohort) << "round " << row + 1;
    EXPECT_EQ(rows[row].q, 0.1);
    if (row > 0) EXPECT_GT(rows[row].eps_pld, rows[row - 1].eps_pld) << "round " << row + 1;
  }
  // A draw of 6 with q = 0.1 is empty with probability 0.53: none or all of 24 once in 3 million.
  EXPECT_GT(empty, 0u);
  EXPECT_LT(empty, 24u);
}

TEST_F(PrivateRounds, DistributedNoiseIsInTheMaskedSumAndCharged) {
  JobSpec spec = MaskedToySpec();
  spec.job.min_clients = 6;
  spec.privacy.mechanism = "distributed";
  spec.privacy.noise_multiplier = 0.5;
  spec.privacy.target_epsilon = 100;
  spec.privacy.clip_norm = 4;
  const JobView view = Run(Finish(spec));
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  const std::vector<LedgerRow> rows = Ledger();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].mechanism, DpMechanism::kDistributedGaussian);
  EXPECT_EQ(rows[0].n_eff, 5);  // six at least, of whom one may be corrupt at a tenth
  EXPECT_EQ(rows[0].n_max, 6);
  EXPECT_EQ(view.rounds.back().figures.tokens, 0) << "no figure leaves without noise";
}

TEST_F(PrivateRounds, AbandonedAfterTheSetWasFrozenStaysCharged) {
  JobSpec spec = MaskedToySpec();
  spec.job.min_clients = 6;
  spec.privacy.mechanism = "distributed";
  spec.privacy.noise_multiplier = 0.5;
  spec.privacy.target_epsilon = 100;
  for (const char* client : {"a", "b", "c", "d"}) vanish_[client] = Vanishes::kAfterEndorsing;
  const JobView view = Run(Finish(spec));
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_EQ(Ledger().size(), 1u);
}

}  // namespace
}  // namespace rivulet
