// Federation: what a stopped or killed coordinator remembers of an operator's orders and of time.
#include "federation_fixture.h"

namespace rivulet {
namespace {

// A disk that is full after so many commits: what a crash between two of them leaves.
class FillingStore : public StateStore {
 public:
  absl::StatusOr<uint64_t> NextEpoch() override { return inner_->NextEpoch(); }
  absl::StatusOr<StoredState> Load() override { return inner_->Load(); }
  absl::Status Commit(const std::vector<Write>& writes) override {
    ++commits_asked;
    if (commits_left == 0) return Refuse(absl::StatusCode::kResourceExhausted, "full");
    --commits_left;
    return inner_->Commit(writes);
  }
  int commits_left = 1'000'000;
  int commits_asked = 0;

 private:
  const std::unique_ptr<StateStore> inner_ = MakeMemoryStateStore();
};

TEST_F(FederationTest, StopNowIsNotForgottenByARestart) {
  for (const bool gently_first : {false, true}) {
    auto filling = std::make_unique<FillingStore>();
    FillingStore& store = *filling;
    federation_.reset();
    states_ = std::move(filling);
    gateway_.orders.clear();
    Start(ToySpec());
    Connect({"a", "b", "c"});
    const std::string id = Submit();
    OpenFirstRound();
    if (gently_first) {
      ASSERT_TRUE(federation_->Stop(id, false).ok());
    }
    store.commits_left = 1;  // that it is to stop, but not that the round is abandoned
    ASSERT_TRUE(federation_->Stop(id, true).ok());
    ASSERT_EQ(Show(id).state, JobState::kStopping);
    store.commits_left = 1'000'000;
    Restart(ToySpec());
    EXPECT_EQ(Show(id).state, JobState::kStopped);
    EXPECT_EQ(Show(id).rounds[0].state, RoundState::kAbandoned);
    EXPECT_EQ(Show(id).round, 0u);
  }
}

TEST_F(FederationTest, AFullDiskRefusesAWholeBatchOfReportsAtOnce) {
  auto filling = std::make_unique<FillingStore>();
  FillingStore& store = *filling;
  states_ = std::move(filling);
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  std::vector<ClientReport> batch;
  for (const char* client : {"a", "b", "c"}) {
    batch.push_back(EvaluationReportRecord{id, 0, client, int64_t{3} << 20, 2, 1});
  }
  store.commits_left = 0;
  store.commits_asked = 0;
  for (const absl::Status& answer : federation_->Report(batch)) {
    EXPECT_EQ(answer.code(), absl::StatusCode::kResourceExhausted) << answer;
  }
  EXPECT_EQ(store.commits_asked, 1);
  store.commits_left = 1'000'000;
  for (const absl::Status& answer : federation_->Report(batch)) EXPECT_TRUE(answer.ok()) << answer;
  EXPECT_TRUE(Show(id).evaluations.at(0).done);
}

TEST_F(FederationTest, ARestartDoesNotRenewTheWaitForClients) {
  Start(ToySpec());
  Connect({"a"});
  const std::string id = Submit();
  Pass(seconds(400));
  Restart(ToySpec());
  EXPECT_EQ(Show(id).waiting, "waiting: 0 of 3 nodes, 00:10:00 left");
  Pass(seconds(100));
  Restart(ToySpec());
  EXPECT_EQ(Show(id).waiting, "waiting: 0 of 3 nodes, 00:08:20 left");
  Pass(seconds(501));
  EXPECT_EQ(Show(id).state, JobState::kFailed);
}

TEST_F(FederationTest, ALaterWaitIsAWholeOne) {
  Start(ToySpec());
  Connect({"a"});
  const std::string id = Submit();
  Pass(seconds(400));
  Connect({"b", "c"});
  OpenFirstRound();
  for (const char* client : {"a", "b", "c"}) federation_->Disconnected(client);
  Restart(ToySpec());
  Pass(seconds(101));  // round 1 is abandoned
  Restart(ToySpec());
  EXPECT_EQ(Show(id).waiting, "waiting: 0 of 3 nodes to return, 00:16:40 left");
}

}  // namespace
}  // namespace rivulet
