#include <gtest/gtest.h>

#include "tests/unit/privacy/secagg_machines/cohort.h"

// Every byte of every message that client 0 sends or gets, flipped once: the sum of the survivors
// or a reason, never anything else.
namespace rivulet::secagg {
namespace {

constexpr Leg kLegs[] = {Leg::kAdvertisement, Leg::kRoster,  Leg::kShares,    Leg::kForward,
                         Leg::kPacked,        Leg::kTrailer, Leg::kSurvivors, Leg::kEndorsement,
                         Leg::kRequest,       Leg::kUnmask};

// What came of the runs.
struct Outcomes {
  int sums = 0;
  std::set<Reason> reasons;
};

// Runs of n = 4 (t = 3) in which one byte differs, all from where the message is about to be sent.
class FlippedRuns {
 public:
  explicit FlippedRuns(Leg leg) : cohort_(4, SmallParams(), false), leg_(leg) {
    TolerantRun run(cohort_);
    absl::Status begun;
    if (leg_ >= Leg::kRoster) begun = run.Advertise();
    if (leg_ >= Leg::kForward) begun.Update(run.Share());
    EXPECT_TRUE(begun.ok()) << begun;
    start_.emplace(cohort_, run.server);
  }

  // False when the message is shorter.
  bool Run(size_t position, Outcomes& outcomes) {
    bool flipped = false;
    TolerantRun run(cohort_, [&](Leg at, uint32_t u, std::string bytes) {
      if (at == leg_ && u == 0 && position < bytes.size()) {
        bytes[position] = static_cast<char>(bytes[position] ^ (1 << (position % 8)));
        flipped = true;
      }
      return bytes;
    });
    start_->Restore(run.server);
    const auto sum = GoOn(run);
    if (!flipped) return false;
    if (sum.ok()) {
      EXPECT_EQ(ValuesOf(*sum), cohort_.PlainSum(run.Survivors())) << position;
      ++outcomes.sums;
    } else if (const auto reason = ReasonOf(sum.status()); reason.has_value()) {
      outcomes.reasons.insert(*reason);
    } else {
      ADD_FAILURE() << position << " " << sum.status();
    }
    return true;
  }

 private:
  absl::StatusOr<RingVector> GoOn(TolerantRun& run) const {
    if (leg_ < Leg::kRoster) RV_RETURN_IF_ERROR(run.Advertise());
    if (leg_ < Leg::kForward) RV_RETURN_IF_ERROR(run.Share());
    return run.Finish();
  }

  Cohort cohort_;
  Leg leg_;
  std::optional<Snapshot> start_;
};

class FlippedBytes : public testing::TestWithParam<Leg> {};

// The others go on without client 0, or with a share less of it: one of four may be missing in
// every phase, and one share of every secret may be wrong. Only a roster of three is too small.
TEST_P(FlippedBytes, GiveTheSumOfTheSurvivorsOrAReason) {
  FlippedRuns runs(GetParam());
  Outcomes outcomes;
  size_t position = 0;
  while (runs.Run(position, outcomes)) ++position;
  EXPECT_GE(position, 39u);  // the shortest is the packed vector
  if (GetParam() == Leg::kAdvertisement) {
    EXPECT_EQ(outcomes.reasons, std::set<Reason>{Reason::kRosterSmall});
    EXPECT_EQ(outcomes.sums, 0);
  } else {
    EXPECT_EQ(outcomes.reasons, std::set<Reason>());
    EXPECT_EQ(outcomes.sums, static_cast<int>(position));
  }
}

std::string NameOfLeg(const testing::TestParamInfo<Leg>& leg) {
  constexpr const char* kNames[] = {"Advertisement", "Roster",      "Reveal",  "Nonces",
                                    "Shares",        "Forward",     "Packed",  "Trailer",
                                    "Survivors",     "Endorsement", "Request", "Unmask"};
  return kNames[static_cast<int>(leg.param)];
}

INSTANTIATE_TEST_SUITE_P(Every, FlippedBytes, testing::ValuesIn(kLegs), NameOfLeg);

}  // namespace
}  // namespace rivulet::secagg
