#include "simulations/report/run_directory.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "simulations/report/run_progress.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

std::string Content(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

JobView TwoRounds() {
  JobView view;
  view.id = "rnd-1";
  view.name = "toy";
  view.state = JobState::kFinished;
  view.round = view.num_rounds = 2;
  view.bytes_up = 2048;
  view.elapsed_ms = 5000;
  for (uint64_t number : {1, 2}) {
    RoundView round;
    round.round = number;
    round.attempt = 1;
    round.state = RoundState::kDone;
    round.figures.loss = 5.0 - static_cast<double>(number);
    round.figures.tokens = 1000;
    round.figures.milliseconds = 500;
    view.rounds.push_back(round);
  }
  EvaluationView before;
  before.done = true;
  before.loss = std::log(200.0);
  before.counted = 10;
  before.clients = {{"art", std::log(300.0), 0.1, 5}, {"law", std::log(100.0), 0.2, 5}};
  EvaluationView after = before;
  after.round = 2;
  after.loss = std::log(50.0);
  after.clients[0].loss = std::log(60.0);
  after.clients[1].loss = std::log(110.0);
  view.evaluations = {before, after};
  return view;
}

TEST(RunDirectory, LeavesMetricsPlotSummaryAndTheLatestLink) {
  const auto base = Scratch();
  auto run = RunDirectory::Create(base, "toy", 1700000000123, /*tensorboard=*/true);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ((*run)->path().filename(), "20231114T221320Z-toy");
  JobEvent event;
  event.type = "round.completed";
  event.job = "rnd-1";
  event.round = 1;
  event.unix_ms = 1700000000123;
  event.data = {{"loss", 4.0},
                {"bad", std::numeric_limits<double>::quiet_NaN()},
                {"note", std::string("x\"y")}};
  ASSERT_TRUE((*run)->Append(event).ok());
  ASSERT_TRUE((*run)->Conclude(TwoRounds()).ok());
  ASSERT_TRUE((*run)->LinkLatest().ok());

  const auto line = nlohmann::json::parse(Content(base / "latest" / "metrics.ndjson"));
  EXPECT_EQ(line["time"], "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(line["data"]["loss"], 4.0);
  EXPECT_TRUE(line["data"]["bad"].is_null());
  EXPECT_EQ(line["data"]["note"], "x\"y");
  EXPECT_EQ(nlohmann::json::parse(Content(base / "latest" / "summary.json"))["evaluations"].size(),
            2u);
  EXPECT_NE(Content(base / "latest" / "plot.svg").find("held-out perplexity"), std::string::npos);
  for (const char* stream : {"train", "eval"})
    EXPECT_FALSE(std::filesystem::is_empty(base / "latest" / stream));
}

JobEvent Event(const std::string& type, uint64_t round,
               std::vector<std::pair<std::string, JobEvent::Value>> data) {
  return {type, "rnd-1", round, 1700000001000 + 1000 * static_cast<int64_t>(round),
          std::move(data)};
}

std::vector<ScalarEvent> EventsIn(const std::filesystem::path& stream) {
  return ParseEvents(Content(std::filesystem::directory_iterator(stream)->path())).value();
}

TEST(RunDirectory, TensorBoardFilesAreCompleteAfterEveryRound) {
  const auto base = Scratch();
  auto run = RunDirectory::Create(base, "toy", 1700000000000, /*tensorboard=*/true);
  ASSERT_TRUE(run.ok()) << run.status();
  const auto path = (*run)->path();
  EXPECT_TRUE(EventsIn(path / "train").empty());
  EXPECT_TRUE(EventsIn(path / "eval").empty());
  for (const JobEvent& event :
       {Event("eval.completed", 0, {{"loss", 2.0}, {"accuracy", 0.5}, {"counted", int64_t{8}}}),
        Event("round.started", 1, {{"clients", int64_t{3}}}),
        Event("round.completed", 1,
              {{"clients", int64_t{2}},
               {"loss", 4.5},
               {"milliseconds", int64_t{500}},
               {"bytes_up", int64_t{1024}},
               {"raw_bytes_up", int64_t{4096}},
               {"bytes_down", int64_t{2048}},
               {"state_hash", std::string("ab")},
               {"bias", 0.25},
               {"grad_norm", 0.75},
               {"learning_rate", 0.002}}),
        Event("eval.completed", 1, {{"loss", 0.0}, {"counted", int64_t{0}}})}) {
    ASSERT_TRUE((*run)->Append(event).ok());
  }
  EXPECT_EQ(EventsIn(path / "train"),
            (std::vector<ScalarEvent>{{1700000002, 1, "train/loss", 4.5f},
                                      {1700000002, 1, "train/grad_norm", 0.75f},
                                      {1700000002, 1, "train/learning_rate", 0.002f},
                                      {1700000002, 1, "round/duration_seconds", 0.5f},
                                      {1700000002, 1, "round/clients_selected", 3},
                                      {1700000002, 1, "round/clients_completed", 2},
                                      {1700000002, 1, "round/factor_bias", 0.25f},
                                      {1700000002, 1, "comm/uplink_bytes", 1024},
                                      {1700000002, 1, "comm/uplink_raw_bytes", 4096},
                                      {1700000002, 1, "comm/downlink_bytes", 2048}}));
  EXPECT_EQ(EventsIn(path / "eval"),
            (std::vector<ScalarEvent>{
                {1700000001, 0, "eval/loss", 2},
                {1700000001, 0, "eval/perplexity", static_cast<float>(std::exp(2.0))},
                {1700000001, 0, "eval/accuracy", 0.5f}}));
}

TEST(RunDirectory, TwoRunsOfOneSecondDoNotMeet) {
  const auto base = Scratch();
  const auto first = RunDirectory::Create(base, "toy", 1700000000000, false);
  const auto second = RunDirectory::Create(base, "toy", 1700000000000, false);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE((*first)->path(), (*second)->path());
  ASSERT_TRUE((*first)->LinkLatest().ok());
  ASSERT_TRUE((*second)->LinkLatest().ok());
  EXPECT_EQ(std::filesystem::canonical(base / "latest"),
            std::filesystem::canonical((*second)->path()));
}

// exp of the losses above; one of the two clients got better.
TEST(SummaryTable, ShowsBeforeAndAfterForAllAndEachClient) {
  const std::string table = SummaryTable(TwoRounds(), /*per_client=*/true);
  EXPECT_NE(table.find("200.00 ->    50.00"), std::string::npos) << table;
  EXPECT_NE(table.find("300.00 ->    60.00"), std::string::npos) << table;
  EXPECT_NE(table.find("1 of 2 clients"), std::string::npos) << table;
  EXPECT_NE(table.find("2000 tokens in 1.0 s of rounds, 2000 tokens/s"), std::string::npos)
      << table;
  EXPECT_EQ(SummaryTable(TwoRounds(), /*per_client=*/false).find("300.00"), std::string::npos);
}

// A client whose few tokens all went into training reports no position.
TEST(SummaryTable, NamesHowManyClientsHaveNoHeldOutData) {
  JobView view = TwoRounds();
  EXPECT_EQ(SummaryTable(view, true).find("without held-out data"), std::string::npos);
  for (EvaluationView& evaluation : view.evaluations) evaluation.clients[1].counted = 0;
  const std::string table = SummaryTable(view, true);
  EXPECT_NE(table.find("without held-out data   1 client\n"), std::string::npos) << table;
  EXPECT_NE(table.find("1 of 1 clients"), std::string::npos) << table;
  for (EvaluationView& evaluation : view.evaluations) {
    evaluation.counted = evaluation.clients[0].counted = 0;
  }
  EXPECT_NE(SummaryTable(view, true).find("without held-out data   2 clients\n"),
            std::string::npos);
}

TEST(SummaryTable, ClassificationCountsExamples) {
  JobView view = TwoRounds();
  view.document = R"({"spec":{"data.task":"classification"}})";
  const std::string table = SummaryTable(view, true);
  EXPECT_NE(table.find("2000 examples in 1.0 s of rounds, 2000 examples/s"), std::string::npos)
      << table;
  EXPECT_EQ(table.find("tokens"), std::string::npos) << table;
}

TEST(SummaryTable, CountsTheClientsThatDroppedOut) {
  JobView view = TwoRounds();
  view.rounds[0].cohort = view.rounds[1].cohort = {"art", "law", "tao"};
  EXPECT_EQ(SummaryTable(view, false).find("dropped"), std::string::npos);
  view.rounds[0].failed = {"art"};
  view.rounds[1].missing = {"law"};
  view.rounds[1].needed = 3;
  EXPECT_NE(SummaryTable(view, false).find("2 of 6 invitations"), std::string::npos);
  view.rounds[1].reported = {"art", "tao"};
  view.rounds[1].needed = 2;  // "law" was the spare one
  EXPECT_NE(SummaryTable(view, false).find("1 of 6 invitations"), std::string::npos);
  JobView stopped = view;
  stopped.state = JobState::kStopped;
  stopped.rounds.push_back(stopped.rounds.back());
  stopped.rounds.back().state = RoundState::kAbandoned;
  stopped.rounds.back().reported.clear();
  EXPECT_NE(SummaryTable(stopped, false).find("1 of 6 invitations"), std::string::npos);
  const auto rounds = nlohmann::json::parse(SummaryJson(view))["rounds_detail"];
  EXPECT_EQ(rounds[0]["failed"][0], "art");
  EXPECT_EQ(rounds[1]["missing"][0], "law");
}

// 3 and 2 clients of 3 and 3 in two rounds; the abandoned attempt has no result.
TEST(SummaryTable, HasTheSurvivorsOfTheRoundsThatCount) {
  JobView view = TwoRounds();
  view.rounds[0].cohort = view.rounds[1].cohort = {"art", "law", "tao"};
  view.rounds[0].reported = {"art", "law", "tao"};
  view.rounds[1].reported = {"art", "law"};
  view.rounds.push_back(view.rounds[0]);
  view.rounds.back().state = RoundState::kAbandoned;
  EXPECT_NE(SummaryTable(view, false)
                .find("  survivors               5 of 6 invited, at least 2 a round\n"),
            std::string::npos)
      << SummaryTable(view, false);
  view.rounds.clear();
  EXPECT_EQ(SummaryTable(view, false).find("survivors"), std::string::npos);
}

// 6000 bytes of two rounds of three.
TEST(SummaryTable, HasWhatMasksCostBesideTheUpdates) {
  JobView view = TwoRounds();
  view.rounds[0].cohort = view.rounds[1].cohort = {"art", "law", "tao"};
  EXPECT_EQ(SummaryTable(view, false).find("masking"), std::string::npos);
  view.protocol_bytes_up = 6000;
  view.rounds[1].figures.protocol_bytes_up = 2500;
  EXPECT_NE(
      SummaryTable(view, false)
          .find("  masking                 5.9 KiB up in keys and shares, 1000 B a client and "
                "round\n"),
      std::string::npos)
      << SummaryTable(view, false);
  const auto json = nlohmann::json::parse(SummaryJson(view));
  EXPECT_EQ(json["protocol_bytes_up"], 6000);
  EXPECT_EQ(json["rounds_detail"][1]["protocol_bytes_up"], 2500);
}

// Rounded up: never less than was spent.
TEST(SummaryTable, HasEpsilonWhereThereIsOneAndBytesRawAndSent) {
  JobView view = TwoRounds();
  EXPECT_EQ(SummaryTable(view, false).find("epsilon"), std::string::npos);
  view.raw_bytes_up = 8192;
  view.epsilon = 3.2141;
  view.delta = 1e-5;
  const std::string table = SummaryTable(view, false);
  EXPECT_NE(table.find("  privacy                 epsilon 3.215 at delta 1e-05\n"),
            std::string::npos)
      << table;
  EXPECT_NE(table.find("2.0 KiB up of 8.0 KiB raw"), std::string::npos) << table;
  const auto json = nlohmann::json::parse(SummaryJson(view));
  EXPECT_EQ(json["epsilon"], 3.2141);
  EXPECT_EQ(json["delta"], 1e-5);
}

TEST(RunProgress, HasEpsilonSurvivorsAndBytesRawAndSent) {
  JobView view = TwoRounds();
  view.raw_bytes_up = 8192;
  view.epsilon = 3.2141;
  view.rounds[0].cohort = view.rounds[1].cohort = {"art", "law", "tao"};
  view.rounds[1].reported = {"art", "law"};
  const ProgressState state = ProgressOf(view);
  EXPECT_EQ(state.survivors, "2/3");
  EXPECT_EQ(state.epsilon, "3.215");
  EXPECT_EQ(state.uplink_bytes, 2048u);
  EXPECT_EQ(state.raw_bytes, 8192u);
  EXPECT_EQ(state.loss, 3);
  EXPECT_EQ(state.per_second, 2000);
  view.epsilon = 0;
  EXPECT_EQ(ProgressOf(view).epsilon, "");
  for (RoundView& round : view.rounds) round.figures.tokens = 0;
  EXPECT_LT(ProgressOf(view).loss, 0) << "a noised job has none";
}

TEST(SummaryTable, SaysWhyClientsGaveUp) {
  JobView view = TwoRounds();
  view.failures = {{"INVALID_ARGUMENT", "data.seq-length: got 4096, want 2..1024", 9}};
  EXPECT_NE(SummaryTable(view, false)
                .find("failed 9 times          INVALID_ARGUMENT: data.seq-length: got 4096"),
            std::string::npos)
      << SummaryTable(view, false);
  EXPECT_EQ(nlohmann::json::parse(SummaryJson(view))["failures"][0]["count"], 9);
}

TEST(SummaryTable, SaysWhatEpsilonDoesNotCountAndShowsNoClientOfANoisedJob) {
  JobView view = TwoRounds();
  EXPECT_EQ(SummaryTable(view, true).find("not in epsilon"), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(SummaryJson(view))["evaluates_in_clear"], false);
  view.evaluates_in_clear = true;
  for (EvaluationView& evaluation : view.evaluations) evaluation.clients.clear();
  const std::string table = SummaryTable(view, true);
  EXPECT_NE(table.find("held-out figures left clients without noise: not in epsilon"),
            std::string::npos)
      << table;
  EXPECT_NE(table.find("200.00 ->    50.00"), std::string::npos) << "of all clients together";
  EXPECT_EQ(table.find("better"), std::string::npos);
  for (RoundView& round : view.rounds) round.figures.tokens = 0;
  EXPECT_EQ(SummaryTable(view, true).find("tokens"), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(SummaryJson(view))["evaluates_in_clear"], true);
}

TEST(SummaryTable, NamesTheBiasOfFactorAveragingWhereItIsKnown) {
  JobView view = TwoRounds();
  EXPECT_EQ(SummaryTable(view, false).find("bias"), std::string::npos);
  EXPECT_TRUE(nlohmann::json::parse(SummaryJson(view))["rounds_detail"][0]["bias"].is_null());
  view.rounds[0].figures.bias = 0.25;
  EXPECT_NE(SummaryTable(view, false).find("0.2500 in the last round, 0.2500 at most"),
            std::string::npos);
  view.rounds[1].figures.bias = 0;
  EXPECT_NE(SummaryTable(view, false).find("0.0000 in the last round, 0.2500 at most"),
            std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(SummaryJson(view))["rounds_detail"][1]["bias"], 0.0);
}

}  // namespace
}  // namespace rivulet
