#include <atomic>
#include <filesystem>
#include <mutex>
#include <thread>

#include "federation_fixture.h"

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

// Agents race on real stores, with more invited than needed, so that uploads meet closing rounds.
TEST_F(FederationTest, ManyThreadsFinishTwoJobsOnDirectories) {
  const auto directory = std::filesystem::path(testing::TempDir()) / "federation-threads";
  std::filesystem::remove_all(directory);
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
  std::atomic<bool> ended{false};
  std::vector<std::thread> agents;
  for (int agent = 0; agent < 6; ++agent) {
    agents.emplace_back([&] {
      while (!ended) {
        const auto order = gateway.Take();
        if (!order) {
          std::this_thread::sleep_for(milliseconds(1));
          continue;
        }
        const absl::Status done = ToyWork(*federation, *order);
        EXPECT_TRUE(done.ok() || done.code() == absl::StatusCode::kFailedPrecondition) << done;
      }
    });
  }
  for (const std::string& id : {first, second}) {
    EXPECT_EQ(federation->WaitForEnd(id, seconds(60))->state, JobState::kFinished);
  }
  ended = true;
  for (std::thread& agent : agents) agent.join();
  const StoredState stored = *states_->Load();
  for (const RoundRecord& round : stored.rounds) EXPECT_GE(round.counted.size(), 3u);
  federation.reset();
}

}  // namespace
}  // namespace rivulet
