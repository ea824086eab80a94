// Federation: states of jobs that keep a log are stored now and then only.
#include <future>

#include "aggregation/scalars/scalar_replay.h"
#include "common/formats/safetensors.h"
#include "common/scalars/vote.h"
#include "coordinator/rounds/snapshots.h"
#include "federation_fixture.h"

namespace rivulet {
namespace {

constexpr uint64_t kRecord = 12;  // bytes of a round's log: its number and one coefficient

JobSpec LoggedToy(int rounds) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = rounds;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.learning_rate = 0.5;
  spec.train.max_steps = 1;
  spec.scalars.enabled = true;
  return spec;
}

// A store whose disk is nearly full, takes no state, or takes one as long as the test wants.
class PoorBlobs final : public BlobStore {
 public:
  explicit PoorBlobs(std::unique_ptr<BlobStore> blobs) : blobs_(std::move(blobs)) {}
  absl::StatusOr<std::unique_ptr<BlobWriter>> Create(uint64_t max_bytes) override {
    return blobs_->Create(max_bytes);
  }
  absl::StatusOr<std::unique_ptr<BlobWriter>> Resume(std::string_view key,
                                                     uint64_t max_bytes) override {
    return blobs_->Resume(key, max_bytes);
  }
  absl::Status SweepKept(const std::function<bool(std::string_view)>& wanted) override {
    return blobs_->SweepKept(wanted);
  }
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(std::string_view sha256) const override {
    return blobs_->Open(sha256);
  }
  bool Has(std::string_view sha256) const override { return blobs_->Has(sha256); }
  absl::Status Delete(std::string_view sha256) override { return blobs_->Delete(sha256); }
  absl::StatusOr<std::vector<BlobInfo>> List() const override { return blobs_->List(); }
  uint64_t FreeBytes() const override { return free; }
  absl::StatusOr<std::string> PutPieces(ByteSpans pieces) override {
    if (hold.valid()) hold.wait();
    if (failing.ok()) return blobs_->PutPieces(pieces);
    ++failed;
    return failing;
  }

  uint64_t free = std::numeric_limits<uint64_t>::max();
  absl::Status failing;
  int failed = 0;
  std::shared_future<void> hold;  // set before there is a worker

 private:
  std::unique_ptr<BlobStore> blobs_;
};

class SnapshotTest : public FederationTest {
 protected:
  void Begin(const JobSpec& spec) {
    spec_ = spec;
    states_ = MakeMemoryStateStore();
    auto blobs = std::make_unique<PoorBlobs>(MakeMemoryBlobStore(/*trusting=*/true));  // for Rot
    disk_ = blobs.get();
    blobs_ = std::move(blobs);
    gateway_.orders.clear();
    Start(spec);
    Connect({"a", "b", "c"});
    id_ = Submit();
    state_bytes_ = (*states_->Load()).models[0].bytes;
  }

  // As ToyWork; of votes a client sends signs.
  absl::Status WorkOn(const ToyGateway::Order& order, const Manifest& manifest) {
    if (spec_.scalars.combine != "vote" || order.task.kind == ClientTask::Kind::kEvaluate) {
      return ToyWork(*federation_, order, manifest);
    }
    ToyUpdate update = ToyTrain(order.client, order.task.round, order.task.state_sha256, manifest);
    const std::span<float> votes = update.delta.floats(0);
    std::ranges::transform(votes, votes.begin(), VoteOf);
    update.file = SafetensorsBytes(update.delta);
    return ToyUpload(*federation_, order.client, order.task, update).status();
  }

  // Until the job has ended, or `stop` says so of an order that is about to be worked on.
  void Work(const std::function<bool(const ToyGateway::Order&)>& stop = {}) {
    const Manifest manifest = ScalarForm::Of(spec_, ToyManifest())->manifest();
    for (federation_->Tick(); !gateway_.orders.empty(); federation_->Tick()) {
      if (stop && stop(gateway_.orders.front())) return;
      const auto order = gateway_.orders.front();
      gateway_.orders.pop_front();
      NoteStored();
      const absl::Status done = WorkOn(order, manifest);
      ASSERT_TRUE(done.ok()) << done;
    }
    NoteStored();
  }
  void WorkUntil(uint64_t round) {
    Work([round](const auto& order) {
      return order.task.kind == ClientTask::Kind::kTrain && order.task.round > round;
    });
  }

  std::vector<ModelRecord> Models() { return (*states_->Load()).models; }
  bool Stored(uint64_t round) { return blobs_->Has(Models().at(round).sha256); }
  void NoteStored() {
    for (const ModelRecord& model : Models()) {
      if (blobs_->Has(model.sha256)) written_.insert(model.round);
    }
  }
  void Again() {
    Restart(spec_);
    Connect({"a", "b", "c"});
  }
  // Goes on with a worker of the federation's own, which stores no state before `let_go`.
  void GoOnInBackground(std::promise<void>& let_go, milliseconds patience = seconds(60)) {
    federation_.reset();
    gateway_.orders.clear();
    disk_->hold = let_go.get_future().share();
    FederationConfig config;
    config.planner = ToyPlanner(spec_);
    config.reader = ToyReader(spec_);
    config.state_patience = patience;
    federation_ = std::make_unique<Federation>(config, *states_, *blobs_, gateway_, clock_);
    ASSERT_TRUE(federation_->Recover().ok());
    Connect({"a", "b", "c"});
  }
  // Leaves a blob of the same name and size.
  void Rot(const std::string& sha256) {
    std::string bytes = *blobs_->Get(sha256, uint64_t{1} << 20);
    bytes.back() ^= 1;
    ASSERT_TRUE(blobs_->Delete(sha256).ok());
    const auto writer = *blobs_->Create(bytes.size());
    ASSERT_TRUE(writer->Append(std::as_bytes(std::span(bytes))).ok());
    ASSERT_TRUE(writer->Commit(sha256).ok());
  }
  // The file of today's state, from the last that is stored and the log.
  std::string Made() {
    const auto plan = ToyPlanner(spec_)("toy");
    const std::vector<ModelRecord> models = Models();
    for (size_t row = models.size(); row-- > 0;) {
      if (!blobs_->Has(models[row].sha256)) continue;
      const auto state = ReadState(*blobs_, *plan, models[row], models.back());
      EXPECT_TRUE(state.ok()) << state.status();
      return state.ok() ? SafetensorsBytes(*state) : "";
    }
    return "";
  }

  JobSpec spec_;
  PoorBlobs* disk_ = nullptr;
  std::string id_;
  uint64_t state_bytes_ = 0;
  std::set<uint64_t> written_;  // rounds whose states were seen in the store
};

TEST_F(SnapshotTest, AStateIsStoredOnceTheLogSinceIsAsLong) {
  Begin(LoggedToy(60));
  const uint64_t every = (state_bytes_ + kRecord - 1) / kRecord;
  ASSERT_GT(every, 10u);
  ASSERT_LT(every, 20u);
  Work();
  EXPECT_EQ(written_, (std::set<uint64_t>{0, every, 2 * every, 3 * every, 60}));
  EXPECT_EQ(Show(id_).state, JobState::kFinished);
  EXPECT_EQ((*blobs_->List()).size(), 1u);  // the last state alone
}

TEST_F(SnapshotTest, EveryStateIsStoredWhereThereIsNoLog) {
  JobSpec spec = LoggedToy(4);
  spec.strategy.name = "fedavgm";
  Begin(spec);
  Work();
  EXPECT_EQ(written_, (std::set<uint64_t>{0, 1, 2, 3, 4}));
}

TEST_F(SnapshotTest, StatesThatAreKeptForDownloadAreStored) {
  JobSpec spec = LoggedToy(8);
  spec.export_.save_every_round = 3;
  Begin(spec);
  Work();
  EXPECT_EQ(written_, (std::set<uint64_t>{0, 3, 6, 8}));
  std::vector<std::string> names;
  const std::vector<NamedBlob> blobs = *federation_->Downloads(id_);
  for (const NamedBlob& blob : blobs) names.push_back(blob.name);
  EXPECT_EQ(names, (std::vector<std::string>{"state", "state-0", "state-3", "state-6", "state-8"}));
}

TEST_F(SnapshotTest, AReplayOfHoursIsNoReasonToSaveAState) {
  const JobPlan plan = *ToyPlanner(LoggedToy(9))("toy");
  ModelRecord first, next;
  first.sha256 = "a";
  next = {"", 1, "", "b", uint64_t{1} << 40, "", "", "c", 2 * kRecord, 0};
  EXPECT_FALSE(IsSnapshotDue(plan, first, next));
  const double rounds = kMostReplay / DrawsOfRound(*plan.scalars);
  next.log_bytes = (static_cast<uint64_t>(rounds) + 1) * kRecord;
  EXPECT_LT(next.log_bytes, next.bytes);
  EXPECT_TRUE(IsSnapshotDue(plan, first, next));
}

// Restarted before the first task of every training round.
TEST_F(SnapshotTest, ARestartBetweenSnapshotsGoesOnFromTheSameState) {
  for (const std::string kind : {"fresh", "pool", "vote", "waiting"}) {
    SCOPED_TRACE(kind);
    JobSpec spec = LoggedToy(30);
    if (kind == "pool") spec.scalars.pool = 5;
    if (kind == "vote") spec.scalars.combine = "vote";
    if (kind == "waiting") {
      spec.train.queries = 4;
      spec.scalars.target_ratio = 1.5;
    }
    Begin(spec);
    Work();
    const std::string want = Show(id_).state_hash;
    Begin(spec);
    uint64_t round = 0;
    int between = 0;  // restarts without today's state
    while (!*federation_->Ended(id_)) {
      Work([&](const auto& order) { return order.task.round > round; });
      if (gateway_.orders.empty()) break;
      round = gateway_.orders.front().task.round;
      between += Stored(round - 1) ? 0 : 1;
      Again();
    }
    EXPECT_EQ(Show(id_).state, JobState::kFinished) << Show(id_).reason;
    EXPECT_EQ(Show(id_).state_hash, want);
    if (kind != "waiting") EXPECT_GT(between, 0);  // whose states repeat
  }
}

TEST_F(SnapshotTest, WhatIsStoredMakesTodaysState) {
  for (const int pool : {0, 5}) {
    JobSpec spec = LoggedToy(12);
    spec.scalars.pool = pool;
    Begin(spec);
    WorkUntil(7);
    EXPECT_FALSE(Stored(7));
    EXPECT_EQ(Sha256Hex(Made()), Models().back().sha256);
  }
}

TEST_F(SnapshotTest, AJobThatIsStoppedHasItsLastStateStored) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  ASSERT_FALSE(Stored(5));
  ASSERT_TRUE(federation_->Stop(id_, true).ok());
  federation_->Tick();
  EXPECT_EQ(Show(id_).state, JobState::kStopped);
  EXPECT_TRUE(Stored(5));
  EXPECT_EQ((*federation_->Downloads(id_)).front().sha256, Models().back().sha256);
}

TEST_F(SnapshotTest, AJobThatWasStoppingWhenTheProcessDiedHasItsLastStateStored) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  ASSERT_TRUE(federation_->Stop(id_, true).ok());
  ASSERT_FALSE(Stored(5));  // it waits for the worker
  Again();
  federation_->Tick();
  EXPECT_EQ(Show(id_).state, JobState::kStopped);
  EXPECT_TRUE(Stored(5));
}

TEST_F(SnapshotTest, ADownloadStoresTheStateOfToday) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  const NamedBlob today = (*federation_->Downloads(id_)).front();
  ASSERT_FALSE(blobs_->Has(today.sha256));
  const auto reader = federation_->OpenDownload(id_, today.sha256);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->size(), today.bytes);
  EXPECT_EQ(federation_->OpenDownload(id_, std::string(64, '0')).status().code(),
            absl::StatusCode::kNotFound);
  Work();
  EXPECT_EQ(written_, (std::set<uint64_t>{0, 5, 12}));
}

TEST_F(SnapshotTest, AClientThatCannotMakeTheStateGetsItStored) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  const auto& order = gateway_.orders.front();
  ASSERT_TRUE(order.task.log->snapshot.has_value());
  EXPECT_EQ(order.task.log->snapshot->at, 0u);
  const auto first = federation_->OpenState(order.client, order.task.state_sha256);
  EXPECT_EQ(first.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(RemedyOf(first.status()), Remedy::kRetryLater);
  federation_->Tick();
  EXPECT_TRUE(federation_->OpenState(order.client, order.task.state_sha256).ok());
  // What the tasks of this round name stays until its end.
  const std::string named = order.task.log->snapshot->sha256;
  EXPECT_TRUE(federation_->OpenState(order.client, named).ok());
  Work();
  EXPECT_FALSE(blobs_->Has(named));
  EXPECT_EQ(Show(id_).state, JobState::kFinished) << Show(id_).reason;
}

TEST_F(SnapshotTest, ADownloadWaitsForTheWorkerThatStoresItsState) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  const std::string today = Models().back().sha256;
  std::promise<void> let_go;
  GoOnInBackground(let_go);
  auto download =
      std::async(std::launch::async, [&] { return federation_->OpenDownload(id_, today); });
  EXPECT_EQ(download.wait_for(milliseconds(300)), std::future_status::timeout);
  let_go.set_value();
  const auto reader = download.get();
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->size(), state_bytes_);
}

TEST_F(SnapshotTest, ADownloadThatHasWaitedLongEnoughIsToldToComeAgain) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  const std::string today = Models().back().sha256;
  std::promise<void> let_go;
  GoOnInBackground(let_go, milliseconds(20));
  for (int asked = 0; asked < 2; ++asked) {
    const absl::Status later = federation_->OpenDownload(id_, today).status();
    EXPECT_EQ(later.code(), absl::StatusCode::kUnavailable) << later;
    EXPECT_EQ(RemedyOf(later), Remedy::kRetryLater);
  }
  let_go.set_value();
  absl::Status last;
  for (int asked = 0; asked < 1000; ++asked) {
    last = federation_->OpenDownload(id_, today).status();
    if (last.ok()) break;
  }
  EXPECT_TRUE(last.ok()) << last;
}

TEST_F(SnapshotTest, ADownloadWhoseCallerIsGoneWaitsNoLonger) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  std::promise<void> let_go;
  GoOnInBackground(let_go);
  const std::string today = Models().back().sha256;
  EXPECT_EQ(federation_->OpenDownload(id_, today, [] { return true; }).status().code(),
            absl::StatusCode::kCancelled);
  let_go.set_value();
}

TEST_F(SnapshotTest, AClientComesAgainUntilTheWorkerHasStoredTheState) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  const std::string today = Models().back().sha256;
  std::promise<void> let_go;
  GoOnInBackground(let_go);
  for (int asked = 0; asked < 3; ++asked) {
    const absl::Status later = federation_->OpenState("a", today).status();
    EXPECT_EQ(later.code(), absl::StatusCode::kUnavailable) << later;
    EXPECT_EQ(RemedyOf(later), Remedy::kRetryLater);
  }
  let_go.set_value();
  const auto end = std::chrono::steady_clock::now() + seconds(60);
  auto reader = federation_->OpenState("a", today);
  while (!reader.ok() && std::chrono::steady_clock::now() < end) {
    ASSERT_EQ(RemedyOf(reader.status()), Remedy::kRetryLater);
    std::this_thread::sleep_for(milliseconds(5));
    reader = federation_->OpenState("a", today);
  }
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->size(), state_bytes_);
}

TEST_F(SnapshotTest, ADiskThatIsNearlyFullTakesNoStateForADownloadOrAClient) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  disk_->free = uint64_t{256} << 20;  // the low-water mark
  const std::string today = Models().back().sha256;
  const absl::Status refused = federation_->OpenDownload(id_, today).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RemedyOf(refused), Remedy::kRetryLater);
  const auto& order = gateway_.orders.front();
  const absl::Status later = federation_->OpenState(order.client, today).status();
  EXPECT_EQ(later.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(RemedyOf(later), Remedy::kRetryLater);
  federation_->Tick();
  EXPECT_FALSE(Stored(5));
  disk_->free *= 2;
  EXPECT_TRUE(federation_->OpenDownload(id_, today).ok());
}

TEST_F(SnapshotTest, AStateThatDidNotFitIsForgottenUntilTheEndNeedsIt) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  disk_->failing = absl::ResourceExhaustedError("disk full");
  EXPECT_EQ(federation_->OpenDownload(id_, Models().back().sha256).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(disk_->failed, 1);
  Pass(seconds(5));
  EXPECT_EQ(disk_->failed, 1);
  ASSERT_TRUE(federation_->Stop(id_, true).ok());
  Pass(seconds(5));
  Pass(seconds(5));
  EXPECT_GE(disk_->failed, 3);
  EXPECT_FALSE(*federation_->Ended(id_));
  disk_->failing = absl::OkStatus();
  Pass(seconds(5));
  EXPECT_EQ(Show(id_).state, JobState::kStopped);
  EXPECT_TRUE(Stored(5));
}

TEST_F(SnapshotTest, AFailedAttemptToStoreAStateDoesNotBindTheEnd) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  const std::string today = Models().back().sha256;
  disk_->failing = absl::InternalError("input/output error");
  EXPECT_EQ(federation_->OpenDownload(id_, today).status().code(), absl::StatusCode::kInternal);
  disk_->failing = absl::OkStatus();
  ASSERT_TRUE(federation_->Stop(id_, true).ok());
  federation_->Tick();
  EXPECT_EQ(Show(id_).state, JobState::kStopped);
  EXPECT_TRUE(Stored(5));
}

TEST_F(SnapshotTest, AJobWhoseLastStateCannotBeStoredFails) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  disk_->failing = absl::InternalError("input/output error");
  ASSERT_TRUE(federation_->Stop(id_, true).ok());
  federation_->Tick();
  EXPECT_EQ(disk_->failed, 1);
  EXPECT_EQ(Show(id_).state, JobState::kFailed);
  EXPECT_EQ(Show(id_).exit_code, static_cast<int>(ExitCode::kState));
  EXPECT_TRUE(blobs_->Has(Models().back().log_sha256));
}

TEST_F(SnapshotTest, AnAttemptThatIsAbandonedLeavesTodaysStateInMemory) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  const std::vector<ModelRecord> models = Models();
  disk_->failing = absl::InternalError("input/output error");
  EXPECT_FALSE(federation_->OpenDownload(id_, models.back().sha256).ok());
  disk_->failing = absl::OkStatus();
  Rot(models[0].sha256);  // nothing else could make it
  ASSERT_TRUE(federation_->Stop(id_, true).ok());
  federation_->Tick();
  EXPECT_EQ(Show(id_).state, JobState::kStopped);
  EXPECT_TRUE(Stored(5));
}

TEST_F(SnapshotTest, AStateThatIsKeptIsStoredAfterARestartIfItWasNot) {
  JobSpec spec = LoggedToy(12);
  spec.export_.save_every_round = 5;
  Begin(spec);
  WorkUntil(5);
  ASSERT_TRUE(Stored(5));
  ASSERT_TRUE(blobs_->Delete(Models()[5].sha256).ok());
  Again();
  federation_->Tick();
  EXPECT_TRUE(Stored(5));
}

// The log's bytes are right, but a record of them is not what was published.
TEST_F(SnapshotTest, AStateThatComesOutOtherwiseIsRefusedWithBothHashes) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  const std::vector<ModelRecord> models = Models();
  const auto plan = ToyPlanner(spec_)("toy");
  ModelRecord wrong = models.back();
  wrong.sha256 = models[3].sha256;
  const auto made = ReadState(*blobs_, *plan, models[0], wrong);
  EXPECT_EQ(made.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ExitCodeOf(made.status()), ExitCode::kState);
  const std::string said(made.status().message());
  EXPECT_NE(said.find("got " + models.back().sha256 + ", want " + wrong.sha256), std::string::npos)
      << said;
  EXPECT_TRUE(blobs_->Has(models[0].sha256));
  EXPECT_TRUE(blobs_->Has(models.back().log_sha256));
}

TEST_F(SnapshotTest, AJobWhoseSnapshotRottedFailsOnceItsStateIsAskedForAndLeavesWhatIsThere) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  const std::vector<ModelRecord> models = Models();
  Rot(models[0].sha256);
  Again();
  federation_->Tick();
  ASSERT_FALSE(gateway_.orders.empty());
  const auto& order = gateway_.orders.front();
  EXPECT_EQ(federation_->OpenState(order.client, order.task.state_sha256).status().code(),
            absl::StatusCode::kUnavailable);
  federation_->Tick();
  EXPECT_EQ(Show(id_).state, JobState::kFailed);
  EXPECT_EQ(Show(id_).exit_code, static_cast<int>(ExitCode::kState));
  EXPECT_NE(Show(id_).reason.find("want " + models[0].sha256), std::string::npos)
      << Show(id_).reason;
  EXPECT_TRUE(blobs_->Has(models[0].sha256));
  EXPECT_TRUE(blobs_->Has(models.back().log_sha256));
}

TEST_F(SnapshotTest, AJobWhoseSnapshotIsLostFailsAtTheNextStart) {
  Begin(LoggedToy(12));
  WorkUntil(5);
  const std::string log = Models().back().log_sha256;
  ASSERT_TRUE(blobs_->Delete(Models()[0].sha256).ok());
  Again();
  EXPECT_EQ(Show(id_).state, JobState::kFailed);
  EXPECT_EQ(Show(id_).exit_code, static_cast<int>(ExitCode::kState));
  EXPECT_TRUE(blobs_->Has(log));
}

TEST_F(SnapshotTest, JobsSideBySideKeepTheirStates) {
  Begin(LoggedToy(9));
  Work();
  const std::string want = Show(id_).state_hash;
  Begin(LoggedToy(9));
  const std::string other = Submit();
  Work();
  EXPECT_EQ(Show(id_).state_hash, want);
  EXPECT_EQ(Show(other).state_hash, want);
  EXPECT_TRUE(Stored(9));
}

}  // namespace
}  // namespace rivulet
