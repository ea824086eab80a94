#include <gtest/gtest.h>

#include "tests/unit/privacy/secagg_machines/cohort.h"

// Every byte of every message that client 0 sends or gets, flipped once: the sum of the survivors
// or a reason, never anything else.
namespace rivulet::secagg {
namespace {

constexpr Leg kLegs[] = {Leg::kAdvertisement, Leg::kRoster,  Leg::kShares,    Leg::kForward,
                         Leg::kPacked,        Leg::kTrailer, Leg::kSurvivors, Leg::kEndorsement,
                         Leg::kRequest,       Leg::kUnmask};

// Counts of what came of the runs.
struct Outcomes {
  int sums = 0;
  int reasons = 0;
};

// One run in which byte `position` of one message differs; false when the message is shorter.
bool RunFlipped(Cohort& cohort, const Snapshot& fresh, Leg leg, size_t position,
                Outcomes& outcomes) {
  fresh.Restore();
  bool flipped = false;
  TolerantRun run(cohort, [&](Leg at, uint32_t u, std::string bytes) {
    if (at == leg && u == 0 && position < bytes.size()) {
      bytes[position] = static_cast<char>(bytes[position] ^ (1 << (position % 8)));
      flipped = true;
    }
    return bytes;
  });
  const auto sum = run.Run();
  if (!flipped) return false;
  if (sum.ok()) {
    EXPECT_EQ(ValuesOf(*sum), cohort.PlainSum(run.Survivors())) << position;
    ++outcomes.sums;
  } else {
    EXPECT_TRUE(ReasonOf(sum.status()).has_value()) << position << " " << sum.status();
    ++outcomes.reasons;
  }
  return true;
}

class FlippedBytes : public testing::TestWithParam<Leg> {};

// n = 5 tolerates one client less, in every phase, and one wrong share of every secret.
TEST_P(FlippedBytes, GiveTheSumOfTheSurvivorsOrAReason) {
  Cohort cohort(5, SmallParams(), false);
  const Snapshot fresh(cohort);
  Outcomes outcomes;
  size_t position = 0;
  while (RunFlipped(cohort, fresh, GetParam(), position, outcomes)) ++position;
  EXPECT_GE(position, 39u);  // the shortest is the packed vector
  EXPECT_EQ(outcomes.sums + outcomes.reasons, static_cast<int>(position));
  EXPECT_EQ(outcomes.reasons, 0);
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
