// Federation: what a start decides when it cannot go on with a job.
#include <filesystem>

#include "federation_fixture.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

TEST_F(FederationTest, ADocumentThatThisVersionCannotReadStopsTheStartAndNotTheJob) {
  Start(ToySpec());
  const std::string id = Submit();
  FederationConfig config;
  config.background = false;
  config.planner = [](std::string_view) {
    return Refuse(absl::StatusCode::kInvalidArgument, "document: got key 'new', want a known one");
  };
  federation_ = std::make_unique<Federation>(config, *states_, *blobs_, gateway_, clock_);
  const absl::Status refused = federation_->Recover();
  EXPECT_EQ(ExitCodeOf(refused), ExitCode::kState);
  EXPECT_EQ(refused.message(), "job " + id + ": document: got key 'new', want a known one");
  Restart(ToySpec());
  EXPECT_EQ(Show(id).state, JobState::kActive);
  EXPECT_TRUE(blobs_->Has(Show(id).state_sha256));
}

// A plan may calibrate noise for seconds; an ended job needs no more than its settings.
TEST_F(FederationTest, AnEndedJobIsNotPlannedAgain) {
  Start(ToySpec());
  const std::string id = Submit();
  ASSERT_TRUE(federation_->Stop(id, true).ok());
  ASSERT_EQ(Show(id).state, JobState::kStopped);
  int plans = 0;
  FederationConfig config;
  config.background = false;
  config.planner = [&plans](std::string_view document) {
    ++plans;
    return ToyPlanner(ToySpec())(document);
  };
  config.reader = ToyReader(ToySpec());
  federation_ = std::make_unique<Federation>(config, *states_, *blobs_, gateway_, clock_);
  ASSERT_TRUE(federation_->Recover().ok());
  EXPECT_EQ(plans, 0);
  EXPECT_EQ(Show(id).num_rounds, 3u);
}

// Those of the closing evaluation too, which comes after the last round was published.
TEST_F(FederationTest, TheBytesDownOfAnEndedJobOutliveARestart) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  int64_t fetched = 0;
  for (federation_->Tick(); !gateway_.orders.empty(); federation_->Tick()) {
    const ToyGateway::Order order = gateway_.orders.front();
    gateway_.orders.pop_front();
    ASSERT_TRUE(federation_->OpenState(order.client, order.task.state_sha256).ok());
    fetched += static_cast<int64_t>(order.task.state_bytes);
    ASSERT_TRUE(ToyWork(*federation_, order).ok());
  }
  ASSERT_EQ(Show(id).state, JobState::kFinished);
  EXPECT_EQ(Show(id).bytes_down, fetched);
  Restart(ToySpec());
  EXPECT_EQ(Show(id).bytes_down, fetched);
  int64_t rounds = 0;
  for (const RoundView& round : Show(id).rounds) rounds += round.figures.bytes_down;
  EXPECT_EQ(rounds, fetched);
}

TEST_F(FederationTest, ABlobThatCannotBeOpenedNowStopsTheStartAndNotTheJob) {
  const std::filesystem::path directory = Scratch();
  blobs_ = *OpenDirectoryBlobStore(directory);
  Start(ToySpec());
  const std::string id = Submit();
  const std::filesystem::path blob = directory / "blob" / Show(id).state_sha256;
  std::filesystem::rename(blob, directory / "aside");
  std::filesystem::create_symlink(directory / "aside", blob);  // never followed
  FederationConfig config;
  config.background = false;
  config.planner = ToyPlanner(ToySpec());
  config.reader = ToyReader(ToySpec());
  federation_ = std::make_unique<Federation>(config, *states_, *blobs_, gateway_, clock_);
  EXPECT_EQ(ExitCodeOf(federation_->Recover()), ExitCode::kState);
  std::filesystem::rename(directory / "aside", blob);
  Restart(ToySpec());
  EXPECT_EQ(Show(id).state, JobState::kActive);
}

}  // namespace
}  // namespace rivulet
