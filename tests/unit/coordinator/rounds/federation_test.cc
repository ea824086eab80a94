#include "coordinator/rounds/federation.h"

#include "federation_fixture.h"

namespace rivulet {
namespace {

TEST_F(FederationTest, ThreeRoundsEndFinishedWithFiguresForEach) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  const JobView view = Show(id);
  EXPECT_EQ(view.state, JobState::kFinished) << view.reason << view.waiting;
  EXPECT_EQ(view.round, 3u);
  ASSERT_EQ(view.rounds.size(), 3u);
  EXPECT_EQ(view.rounds[0].figures.loss, 2.0);
  EXPECT_EQ(view.rounds[1].figures.loss, 1.0);
  EXPECT_EQ(view.rounds[2].state_hash, view.state_hash);
  ASSERT_EQ(view.evaluations.size(), 2u);  // before the first, after the last
  EXPECT_EQ(view.evaluations[0].round, 0u);
  EXPECT_EQ(view.evaluations[1].round, 3u);
  EXPECT_EQ(view.evaluations[1].loss, 1.5);  // 3 nats over 2 tokens, from each of three clients
  EXPECT_EQ(view.evaluations[1].accuracy, 0.5);
  EXPECT_EQ(view.evaluations[1].clients.size(), 3u);
  EXPECT_GT(view.bytes_up, 0);
}

// The oracle: the mean in the fixed-point sum of aggregation/, added to the state by FedAvg.
TEST_F(FederationTest, TheStateIsTheReferenceSumWhateverTheOrderOfArrival) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 1;
  std::set<std::string> hashes;
  for (const std::vector<std::string>& order :
       {std::vector<std::string>{"a", "b", "c"}, {"c", "a", "b"}, {"b", "c", "a"}}) {
    states_ = MakeMemoryStateStore();
    blobs_ = MakeMemoryBlobStore();
    Start(spec);
    Connect({"a", "b", "c"});
    const std::string id = Submit();
    OpenFirstRound();
    for (const std::string& client : order) ASSERT_TRUE(Upload(Take(client)).ok());
    ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
    hashes.insert(Show(id).state_hash);

    ParameterSet state = *ToyPlanner(spec)("toy")->initial({});
    FixedPointSum sum = *FixedPointSum::Make(ToyManifest());
    const std::string parent = Sha256Hex(SafetensorsBytes(state));
    for (const char* client : {"a", "b", "c"}) {
      const ToyUpdate update = ToyTrain(client, 1, parent);
      ASSERT_TRUE(sum.Add(update.delta, update.tokens).ok());
    }
    auto optimizer = *MakeServerOptimizer(spec.strategy, ToyManifest());
    ASSERT_TRUE(optimizer->Apply(*sum.Mean(), state).ok());
    EXPECT_EQ(Show(id).state_hash, state.HashHex());
  }
  EXPECT_EQ(hashes.size(), 1u);
}

TEST_F(FederationTest, ReportsOfOneBatchHaveEachTheirOwnAnswer) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  const auto evaluation = [&](const std::string& client) {
    return EvaluationReportRecord{id, 0, client, int64_t{3} << 20, 2, 1};
  };
  EvaluationReportRecord impossible = evaluation("c");
  impossible.correct = 3;
  const std::vector<absl::Status> answers = federation_->Report(
      {evaluation("a"), evaluation("a"), impossible, FailureRecord{"no job", 1, 1, "b", "x", ""},
       FailureRecord{id, 0, 0, "b", "bad_data", "it is"}});
  ASSERT_EQ(answers.size(), 5u);
  EXPECT_TRUE(answers[0].ok()) << answers[0];
  EXPECT_TRUE(answers[1].ok()) << "the same report twice in one commit: " << answers[1];
  EXPECT_EQ(answers[2].code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(answers[3].code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(answers[4].ok()) << answers[4];
  const StoredState stored = *states_->Load();
  ASSERT_EQ(stored.reports.size(), 1u);
  EXPECT_EQ(stored.reports[0].client, "a");
  ASSERT_EQ(stored.failures.size(), 1u);
  EXPECT_EQ(stored.failures[0].code, "bad_data");
  ASSERT_TRUE(federation_->ReportEvaluation("c", id, 0, {int64_t{3} << 20, 2, 1}).ok());
  EXPECT_TRUE(Show(id).evaluations.at(0).done);
}

// What an agent says of its machine comes to the cohort, also when a job finds it connected and
// when it comes back with more.
TEST_F(FederationTest, SelectionByCapabilityInvitesTheLargestMachines) {
  JobSpec spec = ToySpec();
  spec.job.selection = "capability";
  spec.job.clients_per_round = spec.job.min_clients = 2;
  spec.job.num_rounds = 2;
  Start(spec);
  const auto connect = [this](const std::string& name, uint64_t gibibytes) {
    ClientFacts facts = ToyClient(name);
    facts.memory_bytes = gibibytes << 30;
    federation_->Connected(facts);
  };
  connect("a", 4);
  connect("b", 64);
  const std::string id = Submit();
  connect("c", 16);
  OpenFirstRound();
  EXPECT_EQ(Show(id).rounds.at(0).cohort, (std::vector<std::string>{"b", "c"}));
  connect("a", 32);
  for (const char* client : {"b", "c"}) ASSERT_TRUE(Upload(Take(client)).ok());
  federation_->Tick();
  EXPECT_EQ(Show(id).rounds.at(1).cohort, (std::vector<std::string>{"a", "b"}));
}

TEST_F(FederationTest, ServerOptimisersKeepTheirStateAcrossARestart) {
  for (const char* name : {"fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad"}) {
    JobSpec spec = ToySpec();
    spec.strategy.name = name;
    std::string whole;
    for (const bool restart : {false, true}) {
      states_ = MakeMemoryStateStore();
      blobs_ = MakeMemoryBlobStore();
      gateway_.orders.clear();
      Start(spec);
      Connect({"a", "b", "c"});
      const std::string id = Submit();
      for (int order = 0; order < 9; ++order) {  // 3 evaluations, 2 rounds
        ASSERT_FALSE(gateway_.orders.empty());
        ASSERT_TRUE(ToyWork(*federation_, Take(gateway_.orders.front().client)).ok());
        federation_->Tick();
      }
      ASSERT_EQ(Show(id).round, 2u);
      if (restart) {
        Restart(spec);
        Connect({"c", "b", "a"});
      }
      ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
      EXPECT_EQ(Show(id).state, JobState::kFinished) << name;
      if (restart) {
        EXPECT_EQ(Show(id).state_hash, whole) << name;
      }
      whole = Show(id).state_hash;
    }
  }
}

TEST_F(FederationTest, AClientThatReturnsGetsItsTaskAgainUnlessItHasReported) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  Submit();
  OpenFirstRound();
  ASSERT_TRUE(Upload(Take("a")).ok());
  const auto before = Take("b");
  federation_->Disconnected("a");
  federation_->Disconnected("b");
  Connect({"a", "b"});
  const auto again = Take("b");
  EXPECT_EQ(again.task.round, before.task.round);
  EXPECT_EQ(again.task.attempt, before.task.attempt);
  EXPECT_EQ(gateway_.orders.size(), 1u);  // c's; a has reported
}

TEST_F(FederationTest, AJobNobodyComesForFailsAfterItsDeadlineAndSaysSo) {
  Start(ToySpec());
  Connect({"a"});
  const std::string id = Submit();
  EXPECT_EQ(Show(id).waiting, "waiting: 1 of 3 nodes, 00:16:40 left");
  Pass(seconds(400));
  EXPECT_EQ(Show(id).waiting, "waiting: 1 of 3 nodes, 00:10:00 left");
  Pass(seconds(601));
  const JobView view = Show(id);
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_EQ(view.exit_code, 5);
  EXPECT_EQ(view.reason, "round 1 could not start: 1 of 3 nodes were connected after 00:16:40");
}

// The first attempt that two owners refuse does not count, and is none that a restart counts.
TEST_F(FederationTest, ARefusedAttemptDoesNotCountAfterARestartEither) {
  for (const bool restart : {false, true}) {
    states_ = MakeMemoryStateStore();
    blobs_ = MakeMemoryBlobStore();
    gateway_.orders.clear();
    Start(ToySpec());
    Connect({"a", "b", "c"});
    const std::string id = Submit();
    OpenFirstRound();
    for (uint32_t attempt = 1; attempt <= 4; ++attempt) {
      for (const char* client : {"a", "b"}) {
        EXPECT_EQ(Take(client).task.attempt, attempt);
        EXPECT_TRUE(
            federation_->ReportFailure(client, id, 1, attempt, "refused_policy", "strict").ok());
      }
      std::erase_if(gateway_.orders, [&](auto& order) { return order.task.attempt == attempt; });
      if (!restart || attempt == 4) continue;
      Restart(ToySpec());
      Connect({"a", "b", "c"});
      federation_->Tick();
    }
    EXPECT_EQ(Show(id).reason,
              "round 1 was abandoned 3 times in a row; the last attempt: 2 of 3 clients failed; "
              "a, b refused: strict");
    EXPECT_EQ(Show(id).rounds.size(), 4u);
  }
}

TEST_F(FederationTest, AJobFailsAfterThreeAbandonedAttemptsWithTheCommonestErrors) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  OpenFirstRound();
  for (uint32_t attempt = 1; attempt <= 3; ++attempt) {
    for (const char* client : {"a", "b"}) {
      const auto order = Take(client);
      EXPECT_EQ(order.task.attempt, attempt);
      EXPECT_TRUE(federation_
                      ->ReportFailure(client, id, 1, attempt,
                                      client[0] == 'a' ? "out-of-memory" : "no-data", "why\n")
                      .ok());
    }
    (void)federation_->ReportFailure("a", id, 1, attempt, "again", "first wins");
    if (attempt < 3)
      std::erase_if(gateway_.orders, [&](auto& o) { return o.task.attempt == attempt; });
  }
  const JobView view = Show(id);
  EXPECT_EQ(view.state, JobState::kFailed);
  const std::string last =
      "2 of 3 clients failed; a gave up: out-of-memory: why ; b gave up: no-data: why ";
  EXPECT_EQ(view.reason, "round 1 was abandoned 3 times in a row; the last attempt: " + last);
  ASSERT_EQ(view.failures.size(), 2u);
  EXPECT_EQ(view.failures[0].count, 3);
  EXPECT_EQ(view.failures[0].text, "why ");
  EXPECT_EQ(view.rounds.size(), 3u);
  EXPECT_EQ(view.rounds[2].reason, last);
}

TEST_F(FederationTest, AViewTellsCountedFailedAndMissingApartInEveryAttempt) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 1;
  spec.job.min_available_clients = 5;
  Start(spec);
  Connect({"a", "b", "c", "d", "e"});
  const std::string id = Submit();
  OpenFirstRound();
  for (const char* client : {"c", "e"}) (void)Take(client);
  ASSERT_TRUE(Upload(Take("d")).ok());
  ASSERT_TRUE(federation_->ReportFailure("c", id, 1, 1, "toy", "gave up").ok());
  Pass(seconds(101));  // abandoned: one update of two
  ASSERT_TRUE(federation_->ReportFailure("b", id, 1, 2, "toy", "gave up").ok());
  ASSERT_TRUE(federation_->ReportFailure("a", id, 1, 2, "toy", "gave up").ok());
  ASSERT_TRUE(Upload(Take("d")).ok());
  ASSERT_TRUE(Upload(Take("c")).ok());
  EXPECT_FALSE(*federation_->Ended(id));
  Pass(seconds(101));
  const std::vector<RoundView> rounds = Show(id).rounds;
  ASSERT_EQ(rounds.size(), 2u);
  using Names = std::vector<std::string>;
  EXPECT_EQ(rounds[0].failed, Names{"c"});
  EXPECT_EQ(rounds[0].missing, (Names{"a", "b", "d", "e"}));  // nothing of it was counted
  EXPECT_EQ(rounds[1].reported, (Names{"c", "d"}));
  EXPECT_EQ(rounds[1].failed, (Names{"a", "b"}));
  EXPECT_EQ(rounds[1].missing, Names{"e"});
  ASSERT_TRUE(federation_->Stop(id, true).ok());
  EXPECT_TRUE(*federation_->Ended(id));
  EXPECT_EQ(federation_->Ended("zz").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FederationTest, OverSelectionClosesWhenEnoughHaveReported) {
  JobSpec spec = ToySpec();
  spec.job.clients_per_round = 2;
  spec.job.over_selection = 1.5;
  spec.job.num_rounds = 1;
  Start(spec);
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  OpenFirstRound();
  EXPECT_EQ(gateway_.orders.size(), 3u);
  ASSERT_TRUE(Upload(Take("c")).ok());
  ASSERT_TRUE(Upload(Take("a")).ok());
  federation_->Tick();
  EXPECT_EQ(Show(id).round, 1u);
  EXPECT_EQ(Show(id).rounds[0].reported, (std::vector<std::string>{"a", "c"}));
}

TEST_F(FederationTest, AClientWorksOnOneTaskAtATime) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string first = Submit();
  const std::string second = Submit();
  EXPECT_NE(first, second);
  EXPECT_EQ(gateway_.sent, 3);
  for (const ClientView& client : federation_->Clients()) EXPECT_EQ(client.queued, 1);
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  EXPECT_EQ(Show(first).state, JobState::kFinished);
  EXPECT_EQ(Show(second).state, JobState::kFinished);
  EXPECT_EQ(Show(first).state_hash, Show(second).state_hash);  // same seed, same clients
}

TEST_F(FederationTest, StopFinishesTheRoundAndStopNowDoesNot) {
  for (const bool now : {false, true}) {
    Start(ToySpec());
    Connect({"a", "b", "c"});
    const std::string id = Submit();
    OpenFirstRound();
    ASSERT_TRUE(Upload(Take("a")).ok());
    ASSERT_TRUE(federation_->Stop(id, now).ok());
    EXPECT_EQ(Show(id).state, now ? JobState::kStopped : JobState::kStopping);
    if (!now) {
      ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
    }
    EXPECT_EQ(Show(id).state, JobState::kStopped);
    EXPECT_EQ(Show(id).round, now ? 0u : 1u);
    EXPECT_EQ(federation_->Stop(id, now).code(), absl::StatusCode::kFailedPrecondition);
    gateway_.orders.clear();
  }
}

TEST_F(FederationTest, ASubmitTokenMakesOneJob) {
  Start(ToySpec());
  const std::string id = Submit("token");
  EXPECT_EQ(Submit("token"), id);
  EXPECT_EQ(federation_->Submit({"other", "token"}).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(federation_->Submit({"", ""}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(federation_->List().size(), 1u);
  EXPECT_EQ(*federation_->Resolve("@last"), id);
  EXPECT_EQ(*federation_->Resolve(id.substr(0, 4)), id);
  EXPECT_EQ(federation_->Resolve("zz").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FederationTest, OnlyClientsWithTheDataAndTheBaseModelAreEligible) {
  JobSpec spec = ToySpec();
  spec.data.dataset = "mail";
  Start(spec);
  Connect({"a", "b"});
  for (const char* name : {"c", "d", "e"}) {
    ClientFacts facts = ToyClient(name);
    facts.datasets = {"other", "mail"};
    federation_->Connected(facts);
  }
  const std::string id = Submit();
  EXPECT_EQ(Show(id).eligible_connected, 3);
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  EXPECT_EQ(Show(id).rounds[0].cohort, (std::vector<std::string>{"c", "d", "e"}));
}

TEST_F(FederationTest, AStateIsOpenToTheClientsOfItsTaskAlone) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  Submit();
  OpenFirstRound();
  const auto order = Take("a");
  ASSERT_TRUE(Upload(order).ok());
  EXPECT_EQ((*federation_->OpenState("b", order.task.state_sha256))->size(),
            order.task.state_bytes);
  EXPECT_FALSE(federation_->OpenState("stranger", order.task.state_sha256).ok());
  const std::string update = Sha256Hex(ToyTrain("a", 1, order.task.state_sha256).file);
  ASSERT_TRUE(blobs_->Has(update));
  EXPECT_EQ(federation_->OpenState("b", update).status().code(),
            absl::StatusCode::kPermissionDenied);
}

TEST_F(FederationTest, ServedBlobsAreDeletedAndTheStateStays) {
  JobSpec spec = ToySpec();
  spec.export_.save_every_round = 2;
  Start(spec);
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  const auto downloads = *federation_->Downloads(id);
  std::vector<std::string> names;
  for (const NamedBlob& blob : downloads) names.push_back(blob.name);
  EXPECT_EQ(names, (std::vector<std::string>{"state", "state-0", "state-2", "state-3"}));
  EXPECT_EQ(blobs_->List()->size(), 3u);
  Restart(spec);
  EXPECT_EQ(federation_->Downloads(id)->size(), 4u);
  EXPECT_EQ(blobs_->List()->size(), 3u);
  EXPECT_EQ(Show(id).num_rounds, 3u);
}

TEST_F(FederationTest, EventsTellTheStoryInOrder) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 1;
  Start(spec);
  std::vector<std::string> types;
  const uint64_t watch = federation_->Subscribe("", [&](const JobEvent& event) {
    if (types.empty() || types.back() != event.type) types.push_back(event.type);
  });
  Connect({"a", "b", "c"});
  Submit();
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  EXPECT_EQ(types, (std::vector<std::string>{"job.submitted", "eval.started", "eval.completed",
                                             "job.started", "round.started", "client.selected",
                                             "client.completed", "round.completed", "eval.started",
                                             "eval.completed", "job.completed"}));
  federation_->Unsubscribe(watch);
}

// By hand: norms of tokens / 4, weighted with tokens.
TEST_F(FederationTest, ARoundTellsTheMeanGradientNormAndTheLearningRate) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 1;
  spec.train.learning_rate = 0.002;
  Start(spec);
  double sum = 0, tokens = 0;
  std::vector<JobEvent> rounds;
  const uint64_t watch = federation_->Subscribe("", [&](const JobEvent& event) {
    if (event.type == "round.completed") rounds.push_back(event);
    if (event.type != "client.completed") return;
    sum += event.Number("tokens") * event.Number("grad_norm");
    EXPECT_EQ(event.Number("grad_norm"), event.Number("tokens") / 4);
    tokens += event.Number("tokens");
  });
  Connect({"a", "b", "c"});
  Submit();
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  ASSERT_EQ(rounds.size(), 1u);
  EXPECT_GT(tokens, 0);
  EXPECT_DOUBLE_EQ(rounds[0].Number("grad_norm"), sum / tokens);
  EXPECT_EQ(rounds[0].Number("learning_rate"), 0.002);
  federation_->Unsubscribe(watch);
}

TEST_F(FederationTest, EvaluationReportsMustAddUp) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  EXPECT_EQ(federation_->ReportEvaluation("a", id, 0, {1, 2, 3}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(federation_->ReportEvaluation("a", id, 0, {1, -2, 0}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(federation_->ReportEvaluation("a", id, 0, {int64_t{1} << 50, 2, 1}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(federation_->ReportEvaluation("stranger", id, 0, {1, 2, 1}).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(federation_->ReportEvaluation("a", id, 0, {1, 2, 1}).ok());
  EXPECT_TRUE(federation_->ReportEvaluation("a", id, 0, {1, 2, 1}).ok());
}

TEST_F(FederationTest, ARoundGoesOnAfterARestartWithWhatIsLeftOfItsDeadline) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  OpenFirstRound();
  ASSERT_TRUE(Upload(Take("a")).ok());
  Pass(seconds(60));
  clock_.Advance(seconds(100000));  // the machine is off; monotonic time means nothing
  Restart(ToySpec());
  EXPECT_EQ(Show(id).waiting, "waiting: 1 of 3 updates, 00:00:40 left");
  EXPECT_EQ(federation_->epoch(), 2u);
  Connect({"b"});
  const auto order = Take("b");
  EXPECT_EQ(order.task.deadline, seconds(40));
  EXPECT_EQ(order.task.epoch, 2u);
  ASSERT_TRUE(Upload(order).ok());
  Pass(seconds(41));
  EXPECT_EQ(Show(id).round, 1u);
  EXPECT_EQ(Show(id).rounds[0].reported, (std::vector<std::string>{"a", "b"}));
}

TEST_F(FederationTest, LeftoverBlobsAreCollectedAtStart) {
  Start(ToySpec());
  const std::string id = Submit();
  ASSERT_TRUE(blobs_->Put("nobody speaks of this").ok());
  Restart(ToySpec());
  EXPECT_EQ(blobs_->List()->size(), 1u);
  EXPECT_TRUE(blobs_->Has(Show(id).state_sha256));
}

TEST_F(FederationTest, AJobWhoseStateIsGoneFailsAndTheOthersGoOn) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 1;
  Start(spec);
  Connect({"a", "b", "c"});
  const std::string lost = Submit();
  ASSERT_TRUE(blobs_->Delete(Show(lost).state_sha256).ok());
  Restart(spec);
  EXPECT_EQ(Show(lost).state, JobState::kFailed);
  EXPECT_EQ(Show(lost).exit_code, 8);
  const std::string next = Submit();
  Connect({"a", "b", "c"});
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  EXPECT_EQ(Show(next).state, JobState::kFinished);
}

}  // namespace
}  // namespace rivulet
