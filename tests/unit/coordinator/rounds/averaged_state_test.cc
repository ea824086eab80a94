// Federation: evaluations of the moving average of the global states (evaluate.ema).
#include "coordinator/rounds/averaged_state.h"

#include <cmath>

#include "aggregation/scalars/scalar_replay.h"
#include "common/formats/safetensors.h"
#include "coordinator/rounds/snapshots.h"
#include "federation_fixture.h"

namespace rivulet {
namespace {

JobSpec AveragedToy(bool logged) {
  JobSpec spec = logged ? ScalarToy() : ToySpec();
  spec.job.num_rounds = 4;
  spec.evaluate.every = 1;
  spec.evaluate.ema = 0.75;
  return spec;
}

class AveragedStates : public FederationTest {
 protected:
  void Begin(const JobSpec& spec) {
    spec_ = spec;
    states_ = MakeMemoryStateStore();
    blobs_ = MakeMemoryBlobStore();
    gateway_.orders.clear();
    Start(spec);
    Connect({"a", "b", "c"});
    id_ = Submit();
  }
  void Again() {
    Restart(spec_);
    Connect({"a", "b", "c"});
  }
  // The state of the last round, whether its file is there or is made from a log.
  ParameterSet Today() const {
    const std::vector<ModelRecord> models = (*states_->Load()).models;
    const JobPlan plan = *ToyPlanner(spec_)("toy");
    for (size_t row = models.size(); row-- > 0;) {
      if (!blobs_->Has(models[row].sha256)) continue;
      const auto state = ReadState(*blobs_, plan, models[row], models.back());
      EXPECT_TRUE(state.ok()) << state.status();
      return *state;
    }
    ADD_FAILURE() << "no state is stored";
    return {};
  }
  std::string NameOfToday() const { return (*states_->Load()).models.back().sha256; }
  // a + (1 - 0.75) (w - a), number by number.
  static void MoveAverage(const ParameterSet& state, ParameterSet& average) {
    for (size_t row = 0; row < average.size(); ++row) {
      for (size_t i = 0; i < average.floats(row).size(); ++i) {
        float& a = average.floats(row)[i];
        a = std::fma(0.25f, state.floats(row)[i] - a, a);
      }
    }
  }
  // What a client makes of the log alone, and of the state of round 0: one record at a time.
  ParameterSet Replayed(const std::string& log) const {
    const ScalarForm form = *ScalarForm::Of(spec_, ToyManifest());
    ParameterSet state = *ToyPlanner(spec_)("toy")->initial({}), average = state;
    for (size_t at = 0; at < log.size(); at += 12) {
      EXPECT_TRUE(Replay(form, spec_.strategy, log.substr(at, 12), state).ok());
      MoveAverage(state, average);
    }
    return average;
  }
  std::string Log(const ToyGateway::Order& order) {
    const StateLog& log = *order.task.log;
    if (log.bytes == 0) return "";
    const auto reader = federation_->OpenState(order.client, log.sha256);
    EXPECT_TRUE(reader.ok()) << reader.status();
    std::string bytes(log.bytes, '\0');
    EXPECT_TRUE((*reader)->Read(0, std::as_writable_bytes(std::span(bytes))).ok());
    return bytes;
  }
  // Plays all clients to the end, and holds every evaluation against the average computed here.
  void Work(bool restarts) {
    const Manifest manifest = UpdateManifestOf(spec_, ToyManifest());
    ParameterSet average;
    std::set<uint64_t> seen;
    for (federation_->Tick(); !gateway_.orders.empty(); federation_->Tick()) {
      ToyGateway::Order order = gateway_.orders.front();
      if (order.task.kind == ClientTask::Kind::kEvaluate && seen.insert(order.task.round).second) {
        if (order.task.round == 0) {
          average = Today();
        } else {
          MoveAverage(Today(), average);
        }
        if (restarts) {
          Again();
          order = gateway_.orders.front();
        }
      }
      gateway_.orders.pop_front();
      if (order.task.kind == ClientTask::Kind::kEvaluate) {
        const std::string file = SafetensorsBytes(average);
        ASSERT_EQ(order.task.state_sha256, Sha256Hex(file)) << "round " << order.task.round;
        EXPECT_EQ(order.task.state_bytes, file.size());
        const auto reader = federation_->OpenState(order.client, order.task.state_sha256);
        ASSERT_TRUE(reader.ok()) << reader.status();
        EXPECT_EQ((*reader)->size(), file.size());
        if (order.task.round > 0) {
          EXPECT_NE(order.task.state_sha256, NameOfToday());
          ASSERT_EQ(order.task.log.has_value(), spec_.scalars.enabled);
          if (order.task.log) {
            EXPECT_FALSE(order.task.log->snapshot.has_value());
            EXPECT_EQ(SafetensorsBytes(Replayed(Log(order))), file);
          }
        }
      } else {
        EXPECT_EQ(order.task.state_sha256, NameOfToday());
        EXPECT_EQ(order.task.log.has_value(), spec_.scalars.enabled);
        // Who evaluated the average still lacks the record of the round that it trained before.
        if (order.task.log && order.task.round > 1 && !restarts) {
          EXPECT_EQ(order.task.log->rest.size(), 8 + sizeof(float));
        }
      }
      const absl::Status done = ToyWork(*federation_, order, manifest);
      ASSERT_TRUE(done.ok()) << done;
    }
    EXPECT_EQ(seen, (std::set<uint64_t>{0, 1, 2, 3, 4}));
  }

  // Uploads of the round in progress.
  size_t Updates(uint64_t round) const {
    const std::vector<UpdateRecord> rows = (*states_->Load()).updates;
    return static_cast<size_t>(std::count_if(
        rows.begin(), rows.end(), [&](const UpdateRecord& row) { return row.round == round; }));
  }

  JobSpec spec_;
  std::string id_;
};

TEST_F(AveragedStates, EvaluationsAreOfThemAndTrainingIsNot) {
  for (const bool logged : {false, true}) {
    SCOPED_TRACE(logged);
    Begin(AveragedToy(logged));
    Work(false);
    EXPECT_EQ(Show(id_).state, JobState::kFinished) << Show(id_).reason;
    // What is kept and can be downloaded is the state.
    const std::vector<BlobInfo> kept = *blobs_->List();
    ASSERT_EQ(kept.size(), 1u);
    EXPECT_EQ(kept[0].sha256, NameOfToday());
  }
}

TEST_F(AveragedStates, SurviveARestartBeforeEveryEvaluation) {
  for (const bool logged : {false, true}) {
    SCOPED_TRACE(logged);
    Begin(AveragedToy(logged));
    Work(true);
    EXPECT_EQ(Show(id_).state, JobState::kFinished) << Show(id_).reason;
  }
}

// Between evaluations there is the state of round 0, which is its own average, and the log: neither
// training nor a restart before each round needs more.
TEST_F(AveragedStates, AreStoredWhereSomebodyLooksAtThem) {
  for (const bool restarts : {false, true}) {
    SCOPED_TRACE(restarts);
    JobSpec spec = AveragedToy(true);
    spec.job.num_rounds = 7;
    spec.evaluate.every = 3;
    Begin(spec);
    std::set<uint64_t> evaluated;
    uint64_t round = 0;
    for (federation_->Tick(); !gateway_.orders.empty(); federation_->Tick()) {
      if (gateway_.orders.front().task.round != round && restarts) Again();
      const ToyGateway::Order order = gateway_.orders.front();
      gateway_.orders.pop_front();
      round = order.task.round;
      if (order.task.kind == ClientTask::Kind::kEvaluate) {
        evaluated.insert(round);
        EXPECT_EQ(Sha256Hex(SafetensorsBytes(Replayed(Log(order)))), order.task.state_sha256);
        EXPECT_TRUE(blobs_->Has(order.task.state_sha256)) << round;
      } else if (round > 1 && round % 3 != 1) {  // else that of the evaluation may still be there
        EXPECT_EQ(blobs_->List()->size() - Updates(round), 2u) << round;
      }
      const absl::Status done = ToyWork(*federation_, order, UpdateManifestOf(spec, ToyManifest()));
      ASSERT_TRUE(done.ok()) << done;
    }
    EXPECT_EQ(Show(id_).state, JobState::kFinished) << Show(id_).reason;
    EXPECT_EQ(evaluated, (std::set<uint64_t>{0, 3, 6, 7}));
  }
}

// Somebody downloads the state of a round between: it is a snapshot from then on, and its average
// is kept beside it, wherever the coordinator dies.
TEST_F(AveragedStates, AreKeptBesideAStateThatIsAskedFor) {
  JobSpec spec = AveragedToy(true);
  spec.job.num_rounds = 7;
  spec.evaluate.every = 0;
  std::map<bool, std::string> last;
  for (const bool asked : {false, true}) {
    Begin(spec);
    uint64_t round = 0;
    for (federation_->Tick(); !gateway_.orders.empty(); federation_->Tick()) {
      const ToyGateway::Order order = gateway_.orders.front();
      gateway_.orders.pop_front();
      if (order.task.kind == ClientTask::Kind::kEvaluate) {
        last[asked] = order.task.state_sha256;
      } else if (asked && order.task.round != round && order.task.round % 2 == 0) {
        round = order.task.round;
        const std::string today = NameOfToday();
        EXPECT_FALSE(blobs_->Has(today));
        const auto file = federation_->OpenDownload(id_, today, [] { return false; });
        ASSERT_TRUE(file.ok()) << file.status();
        EXPECT_TRUE(blobs_->Has(today));
        EXPECT_EQ(blobs_->Has(order.task.state_sha256), true);
        Again();
        federation_->Tick();
        continue;
      }
      ASSERT_TRUE(ToyWork(*federation_, order, UpdateManifestOf(spec, ToyManifest())).ok());
    }
    EXPECT_EQ(Show(id_).state, JobState::kFinished) << Show(id_).reason;
  }
  EXPECT_EQ(last[true], last[false]);
  EXPECT_EQ(last[true].size(), 64u);
}

// The same job again goes through the same states. One that the first has stored is no snapshot of
// the second, whose average up to there nobody kept.
TEST_F(AveragedStates, AStateThatAnotherJobStoredHasNoAverageBesideIt) {
  JobSpec spec = AveragedToy(true);
  spec.evaluate.every = 0;
  Begin(spec);
  const auto work_until = [&](uint64_t round) {
    for (federation_->Tick(); !gateway_.orders.empty(); federation_->Tick()) {
      const ToyGateway::Order order = gateway_.orders.front();
      const bool trains = order.task.kind == ClientTask::Kind::kTrain;
      if (trains && order.task.round == round) return;
      gateway_.orders.pop_front();
      ASSERT_TRUE(ToyWork(*federation_, order, UpdateManifestOf(spec, ToyManifest())).ok());
    }
  };
  work_until(3);
  const std::string stored = NameOfToday();
  ASSERT_TRUE(federation_->Stop(id_, true).ok());
  federation_->Tick();
  ASSERT_TRUE(blobs_->Has(stored));
  gateway_.orders.clear();
  const std::string again = Submit();
  work_until(3);
  EXPECT_EQ(NameOfToday(), stored);
  work_until(4);
  Again();
  work_until(5);
  EXPECT_EQ(Show(again).state, JobState::kFinished) << Show(again).reason;
}

TEST_F(AveragedStates, AreNoPartOfTheResult) {
  Begin(AveragedToy(true));
  Work(false);
  const std::string averaged = NameOfToday();
  JobSpec plain = AveragedToy(true);
  plain.evaluate.ema = 0;
  Begin(plain);
  ASSERT_TRUE(ToyRun(*federation_, gateway_, UpdateManifestOf(plain, ToyManifest())).ok());
  EXPECT_EQ(NameOfToday(), averaged);
}

TEST_F(AveragedStates, AJobWhoseAverageIsLostFails) {
  Begin(AveragedToy(false));
  federation_->Tick();
  while (gateway_.orders.at(0).task.round < 2) {
    const ToyGateway::Order order = gateway_.orders.front();
    gateway_.orders.pop_front();
    ASSERT_TRUE(ToyWork(*federation_, order).ok());
    federation_->Tick();
  }
  const std::string today = NameOfToday();
  const std::vector<BlobInfo> kept = *blobs_->List();
  for (const BlobInfo& blob : kept) {
    if (blob.sha256 != today) ASSERT_TRUE(blobs_->Delete(blob.sha256).ok());
  }
  Again();
  EXPECT_EQ(Show(id_).state, JobState::kFailed);
  EXPECT_NE(Show(id_).reason.find("average of the global states"), std::string::npos)
      << Show(id_).reason;
}

TEST(AveragedState, ItsTextIsReadBackAndNoOther) {
  const std::string name(64, 'a'), other(64, 'b');
  for (const AveragedState& average : {AveragedState{name, 12345}, AveragedState{name, 1, false},
                                       AveragedState{name, 1, false, {{0, other}, {12, name}}},
                                       AveragedState{name, 1, true, {{7, name}}}}) {
    const auto read = AveragedStateFrom(TextOf(average));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->sha256, average.sha256);
    EXPECT_EQ(read->bytes, average.bytes);
    EXPECT_EQ(read->stored, average.stored);
    EXPECT_EQ(read->kept, average.kept);
  }
  EXPECT_EQ(TextOf({name, 1, false, {{7, other}}}), name + " 1 unstored 7 " + other);
  for (const std::string& bad :
       {std::string(), name, name + " ", name + " 1x", name.substr(1) + " 1", name + " 1 7",
        name + " 1 stored", name + " 1 7 " + other.substr(1), name + " 1 x " + other,
        name + " 1 7 " + other + " "}) {
    EXPECT_EQ(AveragedStateFrom(bad).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
}

}  // namespace
}  // namespace rivulet
