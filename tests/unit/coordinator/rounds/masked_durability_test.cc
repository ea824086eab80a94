// Nothing of a masked round leaves before it is durable, and a round whose shares may be out is not
// repeated, whatever happened in between.
#include "masked_fixture.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

// A store whose disk is full while `full` is set.
class FullStore : public StateStore {
 public:
  explicit FullStore(std::unique_ptr<StateStore> store) : store_(std::move(store)) {}
  absl::Status Commit(const std::vector<Write>& writes) override {
    if (full) return Refuse(absl::StatusCode::kResourceExhausted, "full");
    return store_->Commit(writes);
  }
  absl::StatusOr<uint64_t> NextEpoch() override { return store_->NextEpoch(); }
  absl::StatusOr<StoredState> Load() override { return store_->Load(); }

  bool full = false;

 private:
  const std::unique_ptr<StateStore> store_;
};

class MaskedDurability : public MaskedFederationTest {
 protected:
  void SetUp() override {
    auto store = std::make_unique<FullStore>(std::move(states_));
    disk_ = store.get();
    states_ = std::move(store);
    JobSpec spec = MaskedToySpec();
    spec.job.num_rounds = 1;
    StartPrivate(spec);
    ConnectMembers(kSix);
    job_ = Submit();
  }
  // Steps until all but the last of these uploads are stored, and the next step brings it.
  void RunUntilUploads(size_t count) {
    for (int step = 0; step < 500 && Reported() < count; ++step) (void)Once();
    ASSERT_EQ(Reported(), count);
  }
  size_t Reported() {
    const JobView view = Show(job_);
    return view.rounds.empty() ? 0 : view.rounds.back().reported.size();
  }
  size_t Told(secagg::MessageKind kind) const {
    return static_cast<size_t>(
        std::count_if(masked_.messages.begin(), masked_.messages.end(), [kind](const auto& told) {
          return static_cast<secagg::MessageKind>(told.second.bytes[0]) == kind;
        }));
  }

  FullStore* disk_ = nullptr;
  std::string job_;
};

TEST_F(MaskedDurability, ASurvivorSetThatIsNotStoredReachesNobodyAndIsToldOnceAfterwards) {
  vanish_["f"] = Vanishes::kAfterShares;
  RunUntilUploads(5);
  while (Once()) {
  }
  disk_->full = true;
  for (int second = 0; second < 200; ++second) {  // past the round's deadline, and many ticks
    clock_.Advance(seconds(1));
    federation_->Tick();
  }
  federation_->Disconnected("a");
  ConnectMembers({"a"});
  EXPECT_EQ(Told(secagg::MessageKind::kSurvivorSet), 0u);
  disk_->full = false;
  federation_->Tick();
  EXPECT_EQ(Told(secagg::MessageKind::kSurvivorSet), 5u);
  const JobView view = Run(job_);
  EXPECT_EQ(view.state, JobState::kFinished) << view.reason;
  EXPECT_EQ(view.rounds.size(), 1u);
  EXPECT_EQ(view.rounds.back().reported, (std::vector<std::string>{"a", "b", "c", "d", "e"}));
}

TEST_F(MaskedDurability, AfterARestartARoundWhoseSharesWereGivenIsNotRepeatedEither) {
  for (const char* client : {"a", "b", "c", "d"}) vanish_[client] = Vanishes::kAfterEndorsing;
  RunUntilUploads(6);
  for (int step = 0; step < 500 && Once(); ++step) {
  }
  RestartPrivate();
  ConnectMembers(kSix);
  const JobView view = Run(job_);
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_THAT(view.reason, HasSubstr("cannot be repeated"));
  EXPECT_EQ(view.rounds.size(), 1u);
}

}  // namespace
}  // namespace rivulet
