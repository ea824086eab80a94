// Federation: rounds of coefficients whose directions follow from their masking sessions.
#include "aggregation/scalars/scalar_replay.h"
#include "masked_fixture.h"
#include "privacy/masking/direction_root.h"

namespace rivulet {
namespace {

JobSpec SessionSpec() {
  JobSpec spec = MaskedToySpec();
  spec.job.num_rounds = 3;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.learning_rate = 0.5;
  spec.train.max_steps = 2;
  spec.scalars.enabled = true;
  spec.scalars.drawn_from = "session";
  return spec;
}

// Its clients have the slopes of one linear loss along the directions that each draws for itself.
class ScalarSessions : public MaskedFederationTest {
 protected:
  ToyUpdate TrainedBy(const std::string& client) override {
    const ToyMembers::Member& member = members_.Of(client);
    const Directions directions =
        form_->DirectionsOf({member.order->round, member.task->direction_root()});
    const std::vector<float> gradient = {1, -2, 3, 4, -5, 6, 7, -8, 9, 10};
    ToyUpdate update{"", 1, ParameterSet(form_->manifest())};
    for (uint64_t j = 0; j < update.delta.floats(0).size(); ++j) {
      update.delta.floats(0)[j] = static_cast<float>(directions.Dot(j, gradient) / 64);
    }
    update.file = SafetensorsBytes(update.delta);
    return update;
  }
  std::string Open(const JobSpec& spec) {
    StartPrivate(spec);
    form_ = *ScalarForm::Of(spec, ToyManifest());
    ConnectMembers(kSix);
    return Submit();
  }
  // To the job's end, when logs go: the last one; and what each client's own session gave, by
  // round, of the last attempt at it.
  JobView RunNoting(const std::string& job) {
    for (int step = 0; step < 5000 && !Show(job).ended(); ++step) {
      if (!Once()) clock_.Advance(seconds(5));
      if (const auto log = LogOf(Models().back()); log.ok()) log_ = *log;
      for (const std::string& name : kSix) {
        const ToyMembers::Member& member = members_.Of(name);
        if (member.task == nullptr || !member.task->agreed()) continue;
        roots_[member.order->round][name] = member.task->direction_root();
      }
    }
    return Show(job);
  }
  // Of this round: on which all clients agree.
  uint64_t RootOfRound(uint64_t round) {
    std::set<uint64_t> roots;
    for (const auto& [name, root] : roots_[round]) roots.insert(root);
    EXPECT_EQ(roots.size(), 1u) << "round " << round;
    return roots.empty() ? 0 : *roots.begin();
  }
  // The clients have given shares away for round 2, and f's were wrong. Round 1 left its state in
  // memory alone.
  std::string LoseTheSecondRound() {
    const std::string job = Open(SessionSpec());
    const auto until = [&](uint64_t round) {
      for (int step = 0; step < 5000 && Show(job).round < round; ++step) {
        if (!Once()) clock_.Advance(seconds(5));
      }
    };
    until(1);
    lies_ = {{"a", "f"}, {"b", "f"}, {"c", "f"}, {"d", "f"}};
    until(2);
    const std::vector<ModelRecord> models = Models();
    EXPECT_EQ(models.size(), 3u);
    EXPECT_EQ(models.back().sha256, models[1].sha256);
    EXPECT_FALSE(blobs_->Has(models.back().sha256));
    EXPECT_EQ(Show(job).excluded.size(), 1u);
    return job;
  }
  // Of the job's end: the records of rounds 1 and 3 lead to it.
  void ExpectTwoRecords(const JobView& view) {
    ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
    EXPECT_EQ(log_.size(), 2 * (8 + 8 + 2 * 4u));
    ParameterSet state = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
    ASSERT_TRUE(Replay(*form_, spec_.strategy, log_, state).ok());
    EXPECT_EQ(state.HashHex(), view.state_hash);
    EXPECT_TRUE(blobs_->Has(Models().back().sha256));
  }
  std::vector<ModelRecord> Models() { return states_->Load()->models; }
  absl::StatusOr<std::string> LogOf(const ModelRecord& model) {
    return blobs_->Get(model.log_sha256, model.log_bytes);
  }

  std::optional<ScalarForm> form_;
  std::map<uint64_t, std::map<std::string, uint64_t>> roots_;
  std::string log_;
};

TEST_F(ScalarSessions, TheStateMovesAlongTheDirectionsThatTheMembersDrew) {
  const std::string job = Open(SessionSpec());
  const JobView view = RunNoting(job);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  const std::vector<ModelRecord> models = Models();
  ASSERT_EQ(models.size(), 4u);
  EXPECT_EQ(models[3].log_bytes, 3 * (8 + 8 + 2 * 4u));
  ASSERT_EQ(log_.size(), models[3].log_bytes);
  ParameterSet state = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
  std::set<uint64_t> roots;
  for (uint64_t round = 1; round <= 3; ++round) {
    roots.insert(RootOfRound(round));
    std::vector<float> moves(2);
    std::memcpy(moves.data(), log_.data() + 24 * (round - 1) + 16, 8);
    const ParameterSet delta = *DeltaOf(*form_, {round, RootOfRound(round)}, moves);
    ASSERT_TRUE((*MakeServerOptimizer(spec_.strategy, ToyManifest()))->Apply(delta, state).ok());
    EXPECT_EQ(Sha256Hex(SafetensorsBytes(state)), models[round].sha256) << "round " << round;
  }
  EXPECT_EQ(roots.size(), 3u);
  EXPECT_NE(models[3].sha256, models[2].sha256);  // an odd sum of slopes is not 0
  EXPECT_EQ(state.HashHex(), view.state_hash);
}

TEST_F(ScalarSessions, WhoWasAwayReplaysTheRecordsToTheSameHash) {
  const std::string job = Open(SessionSpec());
  const JobView view = RunNoting(job);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  ParameterSet state = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
  ASSERT_TRUE(Replay(*form_, spec_.strategy, log_, state).ok());
  EXPECT_EQ(state.HashHex(), view.state_hash);
}

TEST_F(ScalarSessions, ALostRoundIsFollowedByOneFromTheStateInMemory) {
  const std::string job = LoseTheSecondRound();
  ExpectTwoRecords(RunNoting(job));
}

TEST_F(ScalarSessions, ALostRoundIsFollowedByOneFromTheSameStateAfterARestartToo) {
  const std::string job = LoseTheSecondRound();
  const std::string state = Show(job).state_hash;
  RestartPrivate();
  EXPECT_EQ(Show(job).state_hash, state);
  ConnectMembers(kSix);
  ExpectTwoRecords(RunNoting(job));
}

TEST_F(ScalarSessions, TheStateOfALostRoundIsStoredForADownload) {
  const std::string job = LoseTheSecondRound();
  const std::string today = Models().back().sha256;
  const auto reader = federation_->OpenDownload(job, today);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->size(), Models().back().bytes);
  ExpectTwoRecords(RunNoting(job));
}

// The coordinator stops while keys are exchanged, and the round begins anew: its directions are
// those of the attempt that came to a sum.
TEST_F(ScalarSessions, ARoundIsThatOfTheAttemptThatCounted) {
  JobSpec spec = SessionSpec();
  spec.job.num_rounds = 1;
  const std::string job = Open(spec);
  while (masked_.rosters.empty()) ASSERT_TRUE(Once());
  const auto lost = *secagg::Decode<secagg::Roster>(masked_.rosters.begin()->second);
  const Bytes32 lost_sid =
      secagg::SessionId(lost.sid0, secagg::RosterBytes(lost.rule, lost.entries));
  ASSERT_TRUE(states_->Commit({DropSecrets{job, 1, 1}}).ok());  // it had not got so far
  RestartPrivate();
  ConnectMembers(kSix);
  const JobView view = RunNoting(job);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  EXPECT_EQ(view.rounds.back().attempt, 2u);
  uint64_t root = 0;
  std::memcpy(&root, log_.data() + 8, sizeof root);
  EXPECT_EQ(root, RootOfRound(1));
  EXPECT_NE(root, DirectionRootOf(lost.sid0, lost_sid));
}

// The sum is opened by another process than the one that agreed on it.
TEST_F(ScalarSessions, ARestartForgetsNoDirections) {
  JobSpec spec = SessionSpec();
  spec.job.num_rounds = 1;
  const std::string job = Open(spec);
  const auto closed = [&] {
    const JobView view = Show(job);
    return !view.rounds.empty() && view.rounds.back().state == RoundState::kClosed;
  };
  while (!closed()) ASSERT_TRUE(Once());
  const uint64_t root = members_.Of("a").task->direction_root();
  RestartPrivate();
  ConnectMembers(kSix);
  const JobView view = RunNoting(job);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  EXPECT_EQ(view.rounds.back().attempt, 1u);
  uint64_t stored = 0;
  std::memcpy(&stored, log_.data() + 8, sizeof stored);
  EXPECT_EQ(stored, root);
}

// Round after round of further directions, each of a session of its own: what is logged leads from
// where it begins to the state, whenever there is a log. A step of more than six rounds would be as
// long as the state and leave none: seen in one of 200 runs at the end; that no step of twelve
// rounds is shorter happens in less than one of 10,000.
TEST_F(ScalarSessions, AStepThatWaitsKeepsTheRootOfEachRound) {
  JobSpec spec = SessionSpec();
  spec.job.num_rounds = 12;
  spec.train.max_steps = 1;
  spec.train.queries = 4;
  spec.train.learning_rate = 0.125;
  spec.scalars.target_ratio = 1.5;
  spec.export_.save_every_round = 1;
  const std::string job = Open(spec);
  const Manifest manifest = ToyManifest();
  const auto state_of = [&](const ModelRecord& model) {
    return *ReadParameterSet(*blobs_->Get(model.sha256, model.bytes), &manifest);
  };
  std::set<uint64_t> replayed;  // rounds
  for (int step = 0; step < 5000 && !Show(job).ended(); ++step) {
    if (!Once()) clock_.Advance(seconds(5));
    const std::vector<ModelRecord> models = Models();
    const ModelRecord& last = models.back();
    if (last.log_bytes == 0 || !replayed.insert(last.round).second) continue;
    // A log that became as long as the state has lost its beginning.
    const auto start = std::find_if(models.begin(), models.end(), [&](const ModelRecord& model) {
      return model.log_from + model.log_bytes == last.log_from;
    });
    ASSERT_NE(start, models.end());
    ParameterSet state = state_of(*start);
    ASSERT_TRUE(Replay(*form_, spec_.strategy, *LogOf(last), state).ok());
    EXPECT_EQ(state.HashHex(), state_of(last).HashHex()) << "round " << last.round;
  }
  EXPECT_EQ(Show(job).state, JobState::kFinished)
      << Show(job).reason << testing::PrintToString(refused_);
  EXPECT_FALSE(replayed.empty());
}

}  // namespace
}  // namespace rivulet
