#include <atomic>
#include <filesystem>
#include <mutex>
#include <thread>

#include "federation_fixture.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

class ThreadedGateway : public ClientGateway {
 public:
  void Send(const std::string& client, const ClientTask& task) override {
    const std::lock_guard lock(mutex_);
    orders_.push_back({client, task});
  }
  void Cancel(const std::string&, const std::string&, uint64_t, uint32_t,
              const std::string&) override {}
  std::optional<ToyGateway::Order> Take() {
    const std::lock_guard lock(mutex_);
    if (orders_.empty()) return std::nullopt;
    const auto order = orders_.front();
    orders_.pop_front();
    return order;
  }

 private:
  std::mutex mutex_;
  std::deque<ToyGateway::Order> orders_;
};

// Threads that do what the federation asks for, as a toy, until they are joined.
class SixAgents {
 public:
  SixAgents(Federation& federation, ThreadedGateway& gateway) {
    for (int agent = 0; agent < 6; ++agent) {
      threads_.emplace_back([&] { Work(federation, gateway); });
    }
  }
  ~SixAgents() { Join(); }
  void Join() {
    ended_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void Work(Federation& federation, ThreadedGateway& gateway) {
    while (!ended_) {
      const auto order = gateway.Take();
      if (!order) {
        std::this_thread::sleep_for(milliseconds(1));
        continue;
      }
      const absl::Status done = ToyWork(federation, *order);
      EXPECT_TRUE(done.ok() || done.code() == absl::StatusCode::kFailedPrecondition) << done;
    }
  }

  std::atomic<bool> ended_{false};
  std::vector<std::thread> threads_;
};

// Agents race on real stores, with more invited than needed, so that uploads meet closing rounds.
TEST_F(FederationTest, ManyThreadsFinishTwoJobsOnDirectories) {
  const auto directory = Scratch();
  states_ = *OpenSqliteStateStore(directory);
  blobs_ = *OpenDirectoryBlobStore(directory);
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 5;
  spec.job.min_available_clients = 6;
  spec.job.clients_per_round = 3;
  spec.job.over_selection = 2;
  FederationConfig config;
  config.planner = ToyPlanner(spec);
  config.low_water_bytes = 0;
  const SystemClock clock;
  ThreadedGateway gateway;
  auto federation = std::make_unique<Federation>(config, *states_, *blobs_, gateway, clock);
  ASSERT_TRUE(federation->Recover().ok());
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) federation->Connected(ToyClient(name));
  const std::string first = *federation->Submit({"toy", ""});
  const std::string second = *federation->Submit({"toy", ""});
  SixAgents agents(*federation, gateway);
  for (const std::string& id : {first, second}) {
    EXPECT_EQ(federation->WaitForEnd(id, seconds(60))->state, JobState::kFinished);
  }
  agents.Join();
  const StoredState stored = *states_->Load();
  for (const RoundRecord& round : stored.rounds) EXPECT_GE(round.counted.size(), 3u);
  federation.reset();
}

// The state that the published rounds of a job must have led to, from the definition.
std::string ReferenceHash(const StoredState& stored, const std::string& job, const JobSpec& spec) {
  ParameterSet state = *ToyPlanner(spec)("toy")->initial({});
  for (const RoundRecord& round : stored.rounds) {
    if (round.job != job || round.state != RoundState::kDone) continue;
    const std::string parent = Sha256Hex(SafetensorsBytes(state));
    FixedPointSum sum = *FixedPointSum::Make(ToyManifest());
    for (const std::string& client : round.counted) {
      const ToyUpdate update = ToyTrain(client, round.round, parent);
      EXPECT_TRUE(sum.Add(update.delta, update.tokens).ok());
    }
    auto optimizer = *MakeServerOptimizer(spec.strategy, ToyManifest());
    EXPECT_TRUE(optimizer->Apply(*sum.Mean(), state).ok());
  }
  return state.HashHex();
}

// The background thread sums while six agents upload; deadlines strike, and jobs are stopped, with
// any number of updates there. What is published is the sum of exactly those that count.
TEST_F(FederationTest, SumsThatGrowWhileUploadsRaceDeadlinesAndStopsAreThoseOfTheClientsCounted) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 10;
  spec.job.min_available_clients = spec.job.clients_per_round = 6;
  FederationConfig config;
  config.planner = ToyPlanner(spec);
  ThreadedGateway gateway;
  auto federation = std::make_unique<Federation>(config, *states_, *blobs_, gateway, clock_);
  ASSERT_TRUE(federation->Recover().ok());
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) federation->Connected(ToyClient(name));
  SixAgents agents(*federation, gateway);
  const auto updates_of = [](const JobView& view) {
    const bool open = !view.rounds.empty() && view.rounds.back().round == view.round + 1;
    return open ? view.rounds.back().reported.size() : 0;
  };
  for (const size_t stop_at : {size_t{0}, size_t{3}, size_t{0}, size_t{4}, size_t{5}, size_t{0}}) {
    const std::string id = *federation->Submit({"toy", ""});
    while (!*federation->Ended(id)) {
      const JobView view = *federation->Show(id);
      const size_t enough = 2 + view.round % 5;
      if (stop_at > 0 && view.round >= 2 && updates_of(view) >= stop_at) {
        EXPECT_TRUE(federation->Stop(id, true).ok() || *federation->Ended(id));
      } else if (updates_of(view) >= enough) {
        clock_.Advance(seconds(101));
      }
      federation->Tick();
      std::this_thread::yield();
    }
    const JobView view = *federation->Show(id);
    EXPECT_TRUE(view.state == JobState::kFinished ||
                (view.state == JobState::kStopped && stop_at > 0))
        << view.reason;
    EXPECT_EQ(view.state_hash, ReferenceHash(*states_->Load(), id, spec));
  }
  agents.Join();
  federation.reset();
}

}  // namespace
}  // namespace rivulet
