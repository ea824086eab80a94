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
