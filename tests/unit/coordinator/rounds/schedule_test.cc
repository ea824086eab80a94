// Random schedules of everything that can happen to a federation, restarts and full disks included,
// against these invariants: I1 nothing acknowledged is lost, I2 every model is the
// reference sum of its set, I3 nobody twice and nobody from outside, I6 models form a chain and
// epochs grow, I8 no sum of fewer than min-clients. Seeds are fixed: a failure repeats.
#include <gtest/gtest.h>

#include <algorithm>

#include "toy_federation.h"

namespace rivulet {
namespace {

using std::chrono::seconds;

// A store whose disk is full now and then.
class FlakyStore : public StateStore {
 public:
  explicit FlakyStore(StateStore& inner) : inner_(inner) {}
  absl::StatusOr<uint64_t> NextEpoch() override { return inner_.NextEpoch(); }
  absl::StatusOr<StoredState> Load() override { return inner_.Load(); }
  absl::Status Commit(const std::vector<Write>& writes) override {
    if (full) return Refuse(absl::StatusCode::kResourceExhausted, "full", Remedy::kRetryLater);
    return inner_.Commit(writes);
  }
  bool full = false;

 private:
  StateStore& inner_;
};

// What the schedules reached; a test that reaches nothing proves nothing.
struct Coverage {
  int restarts = 0;
  int restarts_when_closed = 0;
  int refused_by_full_disk = 0;
  int stale_uploads = 0;
  int abandoned = 0;
  int closed_without_all = 0;
  int acknowledged = 0;
  void Add(const Coverage& other) {
    restarts += other.restarts;
    restarts_when_closed += other.restarts_when_closed;
    refused_by_full_disk += other.refused_by_full_disk;
    stale_uploads += other.stale_uploads;
    abandoned += other.abandoned;
    closed_without_all += other.closed_without_all;
    acknowledged += other.acknowledged;
  }
};

struct Ack {
  std::string client;
  uint64_t round;
  uint32_t attempt;
};

class Schedule {
 public:
  explicit Schedule(uint64_t seed)
      : dice_(RandomStream(seed, Purpose::kPartition, 0)), spec_(ToySpec()) {
    spec_.job.seed = seed;
    slow_ = Chance(4);
    failing_ = Chance(8);
    spec_.job.clients_per_round = Chance(2) ? 0 : 2 + static_cast<int>(dice_.Bounded(3));
    spec_.job.over_selection = Chance(3) ? 1.5 : 1.0;
    spec_.job.min_available_clients = 2 + static_cast<int>(dice_.Bounded(4));
    spec_.strategy.name = Chance(2) ? "fedavg" : "fedadam";
    spec_.evaluate.every = static_cast<int>(dice_.Bounded(3));
    Start();
    id_ = *federation_->Submit({"toy", "token"});
  }

  void Run(int events) {
    for (int event = 0; event < events && !testing::Test::HasFailure(); ++event) {
      Happen();
      CheckInvariants();
    }
    Quiesce();
    CheckInvariants();
  }
  JobView View() { return *federation_->Show(id_); }
  Coverage Reached() {
    const StoredState stored = *states_->Load();
    for (const RoundRecord& round : stored.rounds) {
      coverage_.abandoned += round.state == RoundState::kAbandoned;
      coverage_.closed_without_all +=
          round.state == RoundState::kDone && round.counted.size() < round.cohort.size();
    }
    return coverage_;
  }

 private:
  bool Chance(uint32_t one_in) { return dice_.Bounded(one_in) == 0; }
  std::string Someone() { return std::string(1, static_cast<char>('a' + dice_.Bounded(5))); }

  void Start() {
    FederationConfig config;
    config.planner = ToyPlanner(spec_);
    config.background = false;
    federation_ = std::make_unique<Federation>(config, flaky_, *blobs_, gateway_, clock_);
    ASSERT_TRUE(federation_->Recover().ok());
    EXPECT_GT(federation_->epoch(), epoch_);
    epoch_ = federation_->epoch();
  }

  void Happen() {
    switch (dice_.Bounded(12)) {
      case 0:
      case 1:
        federation_->Connected(ToyClient(Someone()));
        break;
      case 2:
        Leave(Someone());
        break;
      case 3:
        clock_.Advance(seconds(dice_.Bounded(40)));
        break;
      case 4:
        federation_->Tick();
        break;
      case 5:
        flaky_.full = Chance(2);
        break;
      case 6:
        Restart();
        break;
      case 7:
        GiveUp();
        break;
      default:
        WorkOnOne();
    }
  }

  void Leave(const std::string& client) {
    federation_->Disconnected(client);
    if (Chance(2)) return;  // the agent may go on without its stream
    std::erase_if(gateway_.orders, [&](const auto& order) { return order.client == client; });
  }

  void Restart() {
    if (!Chance(4)) return;
    flaky_.full = false;
    ++coverage_.restarts;
    const StoredState stored = *states_->Load();
    for (const RoundRecord& round : stored.rounds) {
      coverage_.restarts_when_closed += round.state == RoundState::kClosed;
    }
    federation_.reset();
    if (Chance(2)) gateway_.orders.clear();
    Start();
  }

  void GiveUp() {
    if (gateway_.orders.empty()) return;
    const auto order =
        gateway_.orders[dice_.Bounded(static_cast<uint32_t>(gateway_.orders.size()))];
    (void)federation_->ReportFailure(order.client, order.task.job_id, order.task.round,
                                     order.task.attempt, "toy", "gave up");
  }

  // Any order, not the oldest; sometimes left in the list, so that it is done twice.
  void WorkOnOne() {
    if (gateway_.orders.empty()) return;
    const size_t at = dice_.Bounded(static_cast<uint32_t>(gateway_.orders.size()));
    const auto order = gateway_.orders[at];
    if (!Chance(4)) gateway_.orders.erase(gateway_.orders.begin() + static_cast<int64_t>(at));
    if (order.task.kind == ClientTask::Kind::kEvaluate) {
      (void)ToyWork(*federation_, order);
      return;
    }
    const ToyUpdate update = ToyTrain(order.client, order.task.round, order.task.state_sha256);
    const auto receipt = ToyUpload(*federation_, order.client, order.task, update);
    if (receipt.ok()) acks_.push_back({order.client, order.task.round, order.task.attempt});
    coverage_.acknowledged += receipt.ok();
    coverage_.stale_uploads += receipt.status().code() == absl::StatusCode::kFailedPrecondition;
    coverage_.refused_by_full_disk +=
        receipt.status().code() == absl::StatusCode::kResourceExhausted;
  }

  void CheckInvariants() {
    const StoredState stored = *states_->Load();
    std::map<std::pair<uint64_t, uint32_t>, const RoundRecord*> rounds;
    for (const RoundRecord& round : stored.rounds) rounds[{round.round, round.attempt}] = &round;
    for (const Ack& ack : acks_) CheckAck(stored, *rounds.at({ack.round, ack.attempt}), ack);
    for (const RoundRecord& round : stored.rounds) CheckRound(round);
    for (size_t at = 0; at < stored.models.size(); ++at) {
      EXPECT_EQ(stored.models[at].round, at);
      EXPECT_EQ(stored.models[at].parent_sha256,
                at == 0 ? "" : stored.models[at - 1].sha256);  // I6
    }
    while (checked_ < stored.models.size()) CheckModel(stored, stored.models[checked_++]);
  }

  void CheckAck(const StoredState& stored, const RoundRecord& round, const Ack& ack) {
    if (round.state == RoundState::kAbandoned) return;
    const bool kept = std::any_of(stored.updates.begin(), stored.updates.end(), [&](const auto& u) {
      return u.client == ack.client && u.round == ack.round && u.attempt == ack.attempt;
    });
    const bool counted =
        std::find(round.counted.begin(), round.counted.end(), ack.client) != round.counted.end();
    EXPECT_TRUE(round.state == RoundState::kOpen ? kept : counted)  // I1
        << ack.client << " " << ack.round << "." << ack.attempt << " " << NameOf(round.state);
  }

  void CheckRound(const RoundRecord& round) {
    const std::set<std::string> cohort(round.cohort.begin(), round.cohort.end());
    const std::set<std::string> counted(round.counted.begin(), round.counted.end());
    EXPECT_EQ(counted.size(), round.counted.size());  // I3
    EXPECT_TRUE(std::includes(cohort.begin(), cohort.end(), counted.begin(), counted.end()));
    EXPECT_TRUE(
        std::includes(round.eligible.begin(), round.eligible.end(), cohort.begin(), cohort.end()));
    if (round.state == RoundState::kClosed || round.state == RoundState::kDone) {
      EXPECT_GE(counted.size(), static_cast<size_t>(spec_.job.min_clients));  // I8
    }
  }

  // I2: an own walk along the recorded sets gives the same bits.
  void CheckModel(const StoredState& stored, const ModelRecord& model) {
    if (model.round == 0) {
      reference_ = *ToyPlanner(spec_)("toy")->initial({});
      optimizer_ = *MakeServerOptimizer(spec_.strategy, ToyManifest());
    } else {
      const auto done = std::find_if(stored.rounds.begin(), stored.rounds.end(), [&](auto& round) {
        return round.round == model.round && round.state == RoundState::kDone;
      });
      ASSERT_NE(done, stored.rounds.end());
      FixedPointSum sum = *FixedPointSum::Make(ToyManifest());
      for (const std::string& client : done->counted) {
        const ToyUpdate update = ToyTrain(client, model.round, model.parent_sha256);
        ASSERT_TRUE(sum.Add(update.delta, update.tokens).ok());
      }
      ASSERT_TRUE(optimizer_->Apply(*sum.Mean(), reference_).ok());
    }
    EXPECT_EQ(model.state_hash, reference_.HashHex());
  }

  // Faults stop: the job must end within bounded time.
  void Quiesce() {
    flaky_.full = false;
    for (int step = 0; step < 200 && !View().ended(); ++step) {
      for (const char* name : {"a", "b", "c", "d", "e"}) federation_->Connected(ToyClient(name));
      ASSERT_TRUE(ToyRunTolerant());
      clock_.Advance(seconds(60));
      federation_->Tick();
    }
    EXPECT_TRUE(View().ended()) << View().waiting;
  }

  bool ToyRunTolerant() {
    for (int step = 0; step < 10000; ++step) {
      federation_->Tick();
      if (gateway_.orders.empty()) return true;
      const auto order = gateway_.orders.front();
      gateway_.orders.pop_front();
      (void)ToyWork(*federation_, order);  // stale orders are refused
    }
    return false;
  }

  RandomCursor dice_;
  JobSpec spec_;
  std::unique_ptr<StateStore> states_ = MakeMemoryStateStore();
  FlakyStore flaky_{*states_};
  std::unique_ptr<BlobStore> blobs_ = MakeMemoryBlobStore();
  ToyGateway gateway_;
  VirtualClock clock_;
  std::unique_ptr<Federation> federation_;
  std::string id_;
  uint64_t epoch_ = 0;
  bool slow_ = false;
  bool failing_ = false;  // most clients give up
  Coverage coverage_;
  std::vector<Ack> acks_;
  size_t checked_ = 0;
  ParameterSet reference_;
  std::unique_ptr<ServerOptimizer> optimizer_;
};

// Sanitizers slow this down tenfold and more; what they look for shows in fewer schedules.
#ifdef RIVULET_SANITIZED
constexpr int kSeeds = 40;
#else
constexpr int kSeeds = 2000;
#endif

TEST(RandomSchedules, KeepEveryInvariantAndEnd) {
  std::map<JobState, int> ends;
  Coverage reached;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Schedule schedule(seed);
    schedule.Run(250);
    ++ends[schedule.View().state];
    reached.Add(schedule.Reached());
    if (HasFailure()) return;
  }
  if (kSeeds < 2000) return;  // too few to judge what they reach
  EXPECT_GT(ends[JobState::kFinished], kSeeds / 4);
  EXPECT_GT(ends[JobState::kFailed], kSeeds / 200);
  EXPECT_GT(reached.restarts, kSeeds / 4);
  EXPECT_GT(reached.restarts_when_closed, kSeeds / 100);
  EXPECT_GT(reached.refused_by_full_disk, kSeeds / 20);
  EXPECT_GT(reached.stale_uploads, kSeeds / 20);
  EXPECT_GT(reached.abandoned, kSeeds / 20);
  EXPECT_GT(reached.closed_without_all, kSeeds / 20);
  EXPECT_GT(reached.acknowledged, 5 * kSeeds / 2);
}

}  // namespace
}  // namespace rivulet
