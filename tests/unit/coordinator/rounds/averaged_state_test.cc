// Federation: evaluations of the moving average of the global states (evaluate.ema).
#include "coordinator/rounds/averaged_state.h"

#include <cmath>

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
          EXPECT_FALSE(order.task.log.has_value());
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
  const AveragedState average{std::string(64, 'a'), 12345};
  const auto read = AveragedStateFrom(TextOf(average));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->sha256, average.sha256);
  EXPECT_EQ(read->bytes, average.bytes);
  const std::string name(64, 'a');
  for (const std::string& bad :
       {std::string(), name, name + " ", name + " 1x", name.substr(1) + " 1"}) {
    EXPECT_EQ(AveragedStateFrom(bad).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
}

}  // namespace
}  // namespace rivulet
