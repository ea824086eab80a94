// Federation: updates of coefficients, and the log by which clients make states for themselves.
#include "aggregation/scalars/scalar_replay.h"
#include "common/formats/safetensors.h"
#include "federation_fixture.h"

namespace rivulet {
namespace {

class ScalarRoundTest : public FederationTest {
 protected:
  // A member of every cohort that does with logs what an agent does.
  struct Client {
    std::optional<uint64_t> position;
    ParameterSet state;
    uint64_t fetched = 0;  // bytes, brought by tasks or asked for
    int calls = 0;         // for bytes of the log
  };

  void Open(const JobSpec& spec) {
    spec_ = spec;
    form_ = *ScalarForm::Of(spec, ToyManifest());
    Start(spec);
    Connect({"a", "b", "c"});
  }

  std::string Read(const std::string& client, const std::string& sha256, uint64_t from) {
    const auto reader = federation_->OpenState(client, sha256, from);
    EXPECT_TRUE(reader.ok()) << reader.status();
    std::string bytes((*reader)->size() - from, '\0');
    EXPECT_TRUE((*reader)->Read(from, std::as_writable_bytes(std::span(bytes))).ok());
    return bytes;
  }

  std::string Rest(const ToyGateway::Order& order, uint64_t from, Client& client) {
    const StateLog& log = *order.task.log;
    EXPECT_LE(log.rest.size(), std::min<uint64_t>(log.bytes, 4096));
    if (auto brought = log.Brought(from)) return *brought;
    ++client.calls;
    return Read(order.client, log.sha256, from);
  }

  void CatchUp(const ToyGateway::Order& order, Client& client) {
    const ClientTask& task = order.task;
    ASSERT_TRUE(task.log.has_value());
    const auto from = MissingFrom(*task.log, client.position, form_->pooled(), task.state_bytes);
    const Manifest manifest = ToyManifest();
    if (!from) {
      const auto& snapshot = task.log->snapshot;
      const std::string file =
          Read(order.client, snapshot ? snapshot->sha256 : task.state_sha256, 0);
      client.fetched += file.size();
      client.state = *ReadParameterSet(file, &manifest);
      const std::string rest = Rest(order, task.log->bytes - task.log->tail(), client);
      client.fetched += rest.size();
      ASSERT_TRUE(Replay(*form_, spec_.strategy, rest, client.state).ok());
    } else {
      const std::string rest = Rest(order, *from, client);
      client.fetched += rest.size();
      const bool onwards = !form_->pooled() && client.position == task.log->from + *from;
      if (!onwards) client.state = *ToyPlanner(spec_)("toy")->initial({});
      ASSERT_TRUE(Replay(*form_, spec_.strategy, rest, client.state).ok());
    }
    client.position = task.log->end();
    EXPECT_EQ(Sha256Hex(SafetensorsBytes(client.state)), task.state_sha256)
        << "round " << task.round;
  }

  // All rounds; "c" is not there between the rounds `away` and `back`.
  JobView Run(const JobSpec& spec, uint64_t away = 0, uint64_t back = 0, bool restart = false) {
    states_ = MakeMemoryStateStore();
    blobs_ = MakeMemoryBlobStore();
    clients_.clear();
    gateway_.orders.clear();
    Open(spec);
    const std::string id = Submit();
    uint64_t round = 0;
    for (int idle = 0; idle < 100; federation_->Tick()) {
      if (gateway_.orders.empty()) {  // a round that waits for who is away
        ++idle;
        Pass(seconds(101));
        if (*federation_->Ended(id)) break;
        continue;
      }
      const auto order = gateway_.orders.front();
      gateway_.orders.pop_front();
      if (order.task.round != round && order.task.kind == ClientTask::Kind::kTrain) {
        round = order.task.round;
        if (round == away) federation_->Disconnected("c");
        if (round == back) federation_->Connected(ToyClient("c"));
      }
      if (order.client == "c" && round >= away && round < back) continue;
      CatchUp(order, clients_[order.client]);
      const absl::Status done = ToyWork(*federation_, order, form_->manifest());
      EXPECT_TRUE(done.ok()) << done;
      if (!done.ok()) break;
      if (!restart || order.client != "a" || order.task.kind != ClientTask::Kind::kTrain) continue;
      Restart(spec);
      Connect({"a", "b"});
      if (round < away || round >= back) Connect({"c"});
    }
    JobView view = Show(id);
    EXPECT_EQ(view.state, JobState::kFinished) << view.reason;
    return view;
  }

  JobSpec spec_;
  std::optional<ScalarForm> form_;
  std::map<std::string, Client> clients_;
};

// The oracle: exact mean of the coefficients, each direction by itself.
TEST_F(ScalarRoundTest, TheStateMovesByTheMeanAlongEachDirection) {
  JobSpec spec = ScalarToy();
  spec.job.num_rounds = 1;
  spec.train.queries = 2;
  const JobView view = Run(spec);
  ParameterSet state = *ToyPlanner(spec)("toy")->initial({});
  FixedPointSum sum = *FixedPointSum::Make(form_->manifest());
  for (const char* client : {"a", "b", "c"}) {
    const ToyUpdate update =
        ToyTrain(client, 1, Sha256Hex(SafetensorsBytes(state)), form_->manifest());
    ASSERT_TRUE(sum.Add(update.delta, update.tokens).ok());
  }
  const ParameterSet mean = *sum.Mean();
  const std::vector<TensorPart> parts = PartsOf(ToyManifest());
  ParameterSet delta(ToyManifest());
  for (uint64_t index = 0; index < 2; ++index) {
    const auto z = MakeDirection({}, RootOf(spec.job.seed, 1, ""), index);
    for (size_t row = 0; row < delta.size(); ++row) {
      AddDirection(*z, parts[row], -0.5f * mean.floats(0)[index], delta.floats(row));
    }
  }
  auto optimizer = *MakeServerOptimizer(spec.strategy, ToyManifest());
  ASSERT_TRUE(optimizer->Apply(delta, state).ok());
  EXPECT_EQ(view.state_hash, state.HashHex());
  EXPECT_LT(view.bytes_up, view.raw_bytes_up);
}

TEST_F(ScalarRoundTest, ClientsMakeEveryStateThemselves) {
  JobSpec spec = ScalarToy();
  spec.job.num_rounds = 8;
  const JobView view = Run(spec);
  for (const auto& [name, client] : clients_) {
    EXPECT_EQ(client.fetched, 8 * 12u) << name;
    EXPECT_EQ(client.calls, 0) << name;
  }
  EXPECT_EQ(view.bytes_down, 3 * 8 * 12);  // a record comes with one task, not with the next
  // A coordinator that knows of no answer brings a short log whole.
  EXPECT_EQ(Run(spec, 0, 0, /*restart=*/true).state_hash, view.state_hash);
  for (const auto& [name, client] : clients_) {
    EXPECT_EQ(client.fetched, 8 * 12u) << name;
    EXPECT_EQ(client.calls, 0) << name;
  }
}

TEST_F(ScalarRoundTest, WhoWasAwayReplaysTheRest) {
  JobSpec spec = ScalarToy();
  spec.job.num_rounds = 10;
  spec.job.min_available_clients = 2;
  spec.job.selection = "all";
  Run(spec, /*away=*/3, /*back=*/9);
  EXPECT_EQ(clients_["c"].fetched, 10 * 12u);  // once each, though it was asked less often
  EXPECT_EQ(clients_["c"].calls, 0);
}

// The toy state's file has less than 30 records' bytes: who was away for 47 rounds fetches a
// snapshot and less than another 30 records since, who was there never does.
TEST_F(ScalarRoundTest, ALogIsNeverAsLongAsTheState) {
  JobSpec spec = ScalarToy();
  spec.job.num_rounds = 60;
  spec.job.min_available_clients = 2;
  spec.job.selection = "all";
  const JobView view = Run(spec, /*away=*/3, /*back=*/50);
  EXPECT_EQ(clients_["a"].fetched, 60 * 12u);
  const uint64_t state = SafetensorsBytes(*ToyPlanner(spec)("toy")->initial({})).size();
  EXPECT_LT(state, 30 * 12u);
  EXPECT_EQ((clients_["c"].fetched - state) % 12, 0u);
  EXPECT_LT(clients_["c"].fetched, state + (30 + 15) * 12u);
  EXPECT_EQ(Run(spec, 3, 50, /*restart=*/true).state_hash, view.state_hash);
}

TEST_F(ScalarRoundTest, APoolIsFetchedWholeWhoeverWasAway) {
  JobSpec spec = ScalarToy();
  spec.job.num_rounds = 10;
  spec.job.min_available_clients = 2;
  spec.job.selection = "all";
  spec.scalars.pool = 5;
  Run(spec, /*away=*/3, /*back=*/9);
  EXPECT_GT(clients_["c"].fetched, 0u);
  EXPECT_EQ(clients_["c"].fetched % 28, 0u);
  EXPECT_LT(clients_["c"].fetched, clients_["a"].fetched);
}

// Ten numbers: 40 directions are sure enough for a ratio of 1.5, one round of four is not.
TEST_F(ScalarRoundTest, AStepWaitsUntilItsDirectionIsSure) {
  JobSpec spec = ScalarToy();
  spec.job.num_rounds = 30;
  spec.train.queries = 4;
  spec.scalars.target_ratio = 1.5;
  const JobView view = Run(spec);
  std::set<std::string> states;
  int moved = 0;
  for (const RoundView& round : view.rounds) {
    moved += states.insert(round.state_hash).second;
  }
  EXPECT_GT(moved, 1);
  EXPECT_LT(moved, 30);
  EXPECT_EQ(Run(spec, 0, 0, /*restart=*/true).state_hash, view.state_hash);
}

// What a task says is what its log, which clients replay, says afterwards; also where the round was
// opened by a process that is gone.
TEST_F(ScalarRoundTest, CandidatesAreChosenByTheLogAndStandInIt) {
  JobSpec spec = ScalarToy();
  spec.job.num_rounds = 12;
  spec.train.queries = 2;
  spec.scalars.candidates = 4;
  const JobView view = Run(spec);
  EXPECT_EQ(Run(spec, 0, 0, /*restart=*/true).state_hash, view.state_hash);
  states_ = MakeMemoryStateStore();
  blobs_ = MakeMemoryBlobStore();
  gateway_.orders.clear();
  Open(spec);
  const std::string id = Submit();
  std::map<uint64_t, std::string> choices;  // by round
  for (federation_->Tick(); !gateway_.orders.empty(); federation_->Tick()) {
    const auto order = gateway_.orders.front();
    gateway_.orders.pop_front();
    const ClientTask& task = order.task;
    if (task.kind == ClientTask::Kind::kTrain) {
      const StateLog& all = *task.log;
      const std::string log = all.bytes > 0 ? Read(order.client, all.sha256, 0) : "";
      EXPECT_EQ(task.choice, *ChoiceFor(*form_, {task.round}, log)) << task.round;
      EXPECT_EQ(task.choice.size(), task.round == 1 ? 0u : 2u);
      if (task.round > 1) {  // a record ends with a choice and two numbers
        std::string before = choices.at(task.round - 1);
        before.resize(2);
        EXPECT_EQ(log.substr(log.size() - 2 - 2 * 4, 2), before) << task.round;
      }
      choices[task.round] = task.choice;
    } else {
      EXPECT_EQ(task.choice, "");
    }
    ASSERT_TRUE(ToyWork(*federation_, order, form_->manifest()).ok());
  }
  EXPECT_EQ(Show(id).state_hash, view.state_hash);
  EXPECT_EQ(choices.size(), 12u);
}

// In round 2 the others send the opposite of what the trusted client does: nobody is to be trusted,
// and what round 1 measured goes on waiting.
TEST_F(ScalarRoundTest, ARoundThatMovesNothingLosesNothingThatWaits) {
  JobSpec spec = ScalarToy();
  spec.job.num_rounds = 2;
  spec.train.queries = 4;
  spec.scalars.target_ratio = 2;
  spec.robust.rule = "fltrust";
  spec.robust.trusted_client = "a";
  Open(spec);
  const std::string id = Submit();
  for (federation_->Tick(); !gateway_.orders.empty(); federation_->Tick()) {
    const auto order = gateway_.orders.front();
    gateway_.orders.pop_front();
    if (order.task.kind == ClientTask::Kind::kEvaluate) {
      ASSERT_TRUE(ToyWork(*federation_, order).ok());
      continue;
    }
    ToyUpdate update{"", 5, ParameterSet(form_->manifest())};
    const float sign = order.task.round == 2 && order.client != "a" ? -1 : 1;
    for (size_t j = 0; j < 4; ++j) {
      update.delta.floats(0)[j] = sign * static_cast<float>(j + order.client[0] % 2);
    }
    update.file = SafetensorsBytes(update.delta);
    ASSERT_TRUE(ToyUpload(*federation_, order.client, order.task, update).ok());
  }
  EXPECT_EQ(Show(id).state, JobState::kFinished) << Show(id).reason;
  const auto stored = states_->Load();
  ASSERT_TRUE(stored.ok());
  ASSERT_EQ(stored->models.size(), 3u);
  EXPECT_FALSE(stored->models[1].optimizer_sha256.empty());
  EXPECT_EQ(stored->models[2].optimizer_sha256, stored->models[1].optimizer_sha256);
  EXPECT_EQ(stored->models[2].sha256, stored->models[0].sha256);
}

TEST_F(ScalarRoundTest, AnOptimiserWithAMemoryHasNoLog) {
  JobSpec spec = ScalarToy();
  spec.strategy.name = "fedadam";
  spec.strategy.server_learning_rate = 0.01;
  Open(spec);
  const std::string id = Submit();
  while (true) {
    federation_->Tick();
    if (gateway_.orders.empty()) break;
    EXPECT_FALSE(gateway_.orders.front().task.log.has_value());
    ASSERT_TRUE(ToyWork(*federation_, gateway_.orders.front(), form_->manifest()).ok());
    gateway_.orders.pop_front();
  }
  EXPECT_EQ(Show(id).state, JobState::kFinished) << Show(id).reason;
}

TEST_F(ScalarRoundTest, AnUpdateOfTrainedNumbersIsRefused) {
  Open(ScalarToy());
  Submit();
  OpenFirstRound();
  const auto order = Take("a");
  const absl::Status refused = ToyWork(*federation_, order);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
}

}  // namespace
}  // namespace rivulet
