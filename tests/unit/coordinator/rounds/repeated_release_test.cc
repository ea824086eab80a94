// A round that is closed and not yet published is finished twice, by coordinators on copies of the
// same files: a retry draws no fresh noise.
#include <filesystem>

#include "private_fixture.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

// Whether there are masks.
class RepeatedRelease : public PrivateRounds, public testing::WithParamInterface<bool> {
 protected:
  JobSpec OneCentralRound() const {
    JobSpec spec = GetParam() ? MaskedToySpec() : CentralSpec();
    spec.job.num_rounds = 1;
    spec.job.min_clients = 6;
    spec.privacy.mechanism = "central";
    spec.privacy.noise_multiplier = 1;
    spec.privacy.target_epsilon = 20;
    return spec;
  }
  void Close() {
    federation_.reset();
    states_.reset();
    blobs_.reset();
  }
  void UseFiles(const fs::path& folder) {
    Close();
    states_ = *OpenSqliteStateStore(folder);
    blobs_ = *OpenDirectoryBlobStore(folder);
  }
  bool IsClosed(const std::string& job) {
    const JobView view = Show(job);
    return !view.rounds.empty() && view.rounds.back().state == RoundState::kClosed;
  }
};

TEST_P(RepeatedRelease, OfOneClosedRoundHasTheSameNoiseEachTime) {
  const fs::path root = ScratchFolder();
  UseFiles(root / "0");
  const JobSpec spec = OneCentralRound();
  const std::string job = Finish(spec);
  while (!IsClosed(job)) ASSERT_TRUE(Once());
  ASSERT_EQ(Show(job).round, 0u) << "nothing is published yet";
  Close();
  fs::copy(root / "0", root / "1", fs::copy_options::recursive);

  std::vector<std::string> models, commitments;
  for (const char* copy : {"0", "1"}) {
    UseFiles(root / copy);
    RestartPrivate();
    ConnectMembers(kAll);
    const JobView view = Run(job);
    ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
    ASSERT_EQ(Ledger().size(), 1u);
    models.push_back(view.state_hash);
    commitments.push_back(Ledger()[0].seed_commitment);
    EXPECT_TRUE(states_->Load()->secrets.empty()) << "the seed is erased once it has served";
  }
  EXPECT_EQ(models[0], models[1]);
  EXPECT_EQ(commitments[0], commitments[1]);
  Close();
  fs::remove_all(root);
}

INSTANTIATE_TEST_SUITE_P(Uploads, RepeatedRelease, testing::Bool(),
                         [](const auto& info) { return info.param ? "masked" : "plain"; });

// Or the test above would pass without noise: another release of the same updates is another model.
TEST_F(PrivateRounds, TwoReleasesOfTheSameUpdatesHaveNoiseOfTheirOwn) {
  JobSpec spec = CentralSpec();
  spec.job.num_rounds = 1;
  const JobView once = Run(Finish(spec));
  ASSERT_EQ(once.state, JobState::kFinished) << once.reason;
  federation_.reset();
  states_ = MakeMemoryStateStore();
  blobs_ = MakeMemoryBlobStore();
  const JobView again = Run(Finish(spec));
  ASSERT_EQ(again.state, JobState::kFinished) << again.reason;
  EXPECT_NE(again.state_hash, once.state_hash);
}

}  // namespace
}  // namespace rivulet
