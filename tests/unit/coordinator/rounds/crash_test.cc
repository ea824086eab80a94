// A coordinator on real directories is killed at every durable step of a three-round job,
// restarted, and must reach the model of an uninterrupted run with every acknowledged update in it,
// once.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "tests/unit/in_child.h"
#include "toy_federation.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
constexpr const char* kClients[] = {"a", "b", "c"};
// Comes during round 2: asked in the evaluation after it, in the cohort of round 3 only.
constexpr const char* kNewcomer = "d";

JobSpec SpecOf(const std::string& kind) {
  JobSpec spec = ToySpec();
  spec.evaluate.every = 2;
  if (kind == "optimizer") spec.strategy.name = "fedadam";  // its state must survive as well
  if (kind == "optimizer") return spec;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.max_steps = 1;
  spec.scalars.enabled = true;  // the states of rounds 1 and 3 are made from the log
  spec.export_.save_every_round = 2;
  if (kind == "pool") spec.scalars.pool = 5;
  if (kind == "average") spec.evaluate.ema = 0.75;  // of rounds 1 and 3 made from the log, too
  return spec;
}

// Runs in a child process until the job has ended, or dies in the `crash_at`-th step (0: never).
// Acknowledgements and the number of steps are appended to files beside the state directory.
int RunCoordinator(const JobSpec& spec, const fs::path& directory, int crash_at) {
  const auto form = ScalarForm::Of(spec, ToyManifest());
  const Manifest manifest = form ? form->manifest() : ToyManifest();
  int steps = 0;
  const DurableStep step = [&](std::string_view) {
    if (++steps == crash_at) raise(SIGKILL);
    return absl::OkStatus();
  };
  auto states = OpenSqliteStateStore(directory / "state", step);
  auto blobs = OpenDirectoryBlobStore(directory / "state", step);
  if (!states.ok() || !blobs.ok()) return 2;
  ToyGateway gateway;
  const VirtualClock clock;
  FederationConfig config;
  config.planner = ToyPlanner(spec);
  config.reader = ToyReader(spec);
  config.background = false;
  config.low_water_bytes = 0;
  Federation federation(config, **states, **blobs, gateway, clock);
  if (!federation.Recover().ok()) return 3;
  const auto id = federation.Submit({"toy", "token"});
  if (!id.ok()) return 4;
  for (const char* name : kClients) federation.Connected(ToyClient(name));
  if (fs::exists(directory / "joined")) federation.Connected(ToyClient(kNewcomer));
  std::ofstream acks(directory / "acks", std::ios::app);
  std::ofstream evaluated(directory / "evaluated", std::ios::app);
  while (true) {
    federation.Tick();
    if (gateway.orders.empty()) break;
    const ToyGateway::Order order = gateway.orders.front();
    gateway.orders.pop_front();
    const bool second = order.task.kind == ClientTask::Kind::kTrain && order.task.round == 2;
    if (second && !fs::exists(directory / "joined")) {
      std::ofstream(directory / "joined") << "yes";
      federation.Connected(ToyClient(kNewcomer));
    }
    if (order.task.kind == ClientTask::Kind::kEvaluate) {
      evaluated << order.task.round << ' ' << order.task.state_sha256 << std::endl;
    }
    if (!ToyWork(federation, order, manifest).ok()) return 5;
    if (order.task.kind == ClientTask::Kind::kTrain) {
      acks << order.task.round << '.' << order.task.attempt << order.client << std::endl;
    }
  }
  std::ofstream(directory / "steps") << steps;
  return federation.Show(*id)->state == JobState::kFinished ? 0 : 6;
}

// In memory where there is such a place: what a killed process leaves behind is the same there, and
// an fsync costs nothing.
fs::path Fresh(const std::string& name) {
  const fs::path root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : testing::TempDir();
  const fs::path directory = root / ("rivulet-crash-" + std::to_string(getpid())) / name;
  fs::remove_all(directory);
  fs::create_directories(directory);
  return directory;
}

struct Outcome {
  std::string state_hash;
  std::set<std::string> counted;    // "1.1a"
  std::set<std::string> evaluated;  // round and hash of what was
  size_t counted_rows = 0;
  size_t blobs = 0;
};

Outcome ReadOutcome(const fs::path& directory) {
  Outcome outcome;
  const auto states = OpenSqliteStateStore(directory / "state");
  const StoredState stored = *(*states)->Load();
  EXPECT_EQ(stored.jobs.size(), 1u);
  outcome.state_hash = stored.models.back().state_hash;
  for (const RoundRecord& round : stored.rounds) {
    for (const std::string& client : round.counted) {
      outcome.counted.insert(std::to_string(round.round) + '.' + std::to_string(round.attempt) +
                             client);
      ++outcome.counted_rows;
    }
  }
  for ([[maybe_unused]] const auto& blob : fs::directory_iterator(directory / "state" / "blob")) {
    ++outcome.blobs;
  }
  std::ifstream evaluated(directory / "evaluated");
  for (std::string line; std::getline(evaluated, line);) outcome.evaluated.insert(line);
  return outcome;
}

void CheckOutcome(const fs::path& directory, const Outcome& golden) {
  const Outcome outcome = ReadOutcome(directory);
  EXPECT_EQ(outcome.state_hash, golden.state_hash);
  EXPECT_EQ(outcome.counted, golden.counted);
  EXPECT_EQ(outcome.evaluated, golden.evaluated);
  EXPECT_EQ(outcome.counted_rows,
            10u);  // three clients in three rounds and the newcomer, once each
  EXPECT_EQ(outcome.blobs, golden.blobs);
  std::ifstream acks(directory / "acks");
  for (std::string ack; std::getline(acks, ack);) EXPECT_TRUE(outcome.counted.contains(ack)) << ack;
}

class Crash : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    golden_directory_ = Fresh("golden");
    ASSERT_EQ(InChild([&] { return RunCoordinator(SpecOf(GetParam()), golden_directory_, 0); }), 0);
    golden_ = ReadOutcome(golden_directory_);
    std::ifstream(golden_directory_ / "steps") >> steps_;
    ASSERT_EQ(golden_.counted.size(), 10u);
    ASSERT_TRUE(golden_.counted.contains("3.1d"));
    ASSERT_EQ(golden_.evaluated.size(), 3u);
    ASSERT_GT(steps_, 50);
  }
  void TearDown() override { fs::remove_all(golden_directory_.parent_path()); }

  fs::path golden_directory_;
  Outcome golden_;
  int steps_ = 0;
};

TEST_P(Crash, AtEveryStepTheSameModelComesOut) {
  for (int at = 1; at <= steps_ && !HasFailure(); ++at) {
    SCOPED_TRACE("killed at step " + std::to_string(at) + " of " + std::to_string(steps_));
    const fs::path directory = Fresh("one");
    ASSERT_EQ(InChild([&] { return RunCoordinator(SpecOf(GetParam()), directory, at); }),
              128 + SIGKILL);
    ASSERT_EQ(InChild([&] { return RunCoordinator(SpecOf(GetParam()), directory, 0); }), 0);
    CheckOutcome(directory, golden_);
  }
}

TEST_P(Crash, AgainDuringRecoveryTheSameModelComesOut) {
  for (int at = 1; at <= steps_ && !HasFailure(); at += 3) {
    SCOPED_TRACE("killed at step " + std::to_string(at) + " of " + std::to_string(steps_));
    const fs::path directory = Fresh("two");
    ASSERT_EQ(InChild([&] { return RunCoordinator(SpecOf(GetParam()), directory, at); }),
              128 + SIGKILL);
    const int second = 1 + at % 7;  // soon after the start
    const int ended =
        InChild([&] { return RunCoordinator(SpecOf(GetParam()), directory, second); });
    ASSERT_TRUE(ended == 0 || ended == 128 + SIGKILL) << ended;
    ASSERT_EQ(InChild([&] { return RunCoordinator(SpecOf(GetParam()), directory, 0); }), 0);
    CheckOutcome(directory, golden_);
  }
}

INSTANTIATE_TEST_SUITE_P(Jobs, Crash, testing::Values("optimizer", "fresh", "pool", "average"),
                         [](const auto& kind) { return kind.param; });

}  // namespace
}  // namespace rivulet
