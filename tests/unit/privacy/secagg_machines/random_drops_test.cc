#include <gtest/gtest.h>

#include "common/random.h"
#include "tests/unit/privacy/secagg_machines/cohort.h"

// Random patterns of clients that vanish, in cohorts too large to try them all.
namespace rivulet::secagg {
namespace {

// Every client goes with chance `percent` at a point of `first`..4.
void DropRandomly(RandomCursor& cursor, uint32_t percent, int first, TolerantRun& run) {
  for (int& point : run.drop_at) {
    if (cursor.Bounded(100) < percent) point = first + static_cast<int>(cursor.Bounded(5 - first));
  }
}

void ExpectSumOrReason(Cohort& cohort, const TolerantRun& run,
                       const absl::StatusOr<RingVector>& sum, int& sums) {
  if (!sum.ok()) {
    EXPECT_TRUE(ReasonOf(sum.status()).has_value()) << sum.status();
    EXPECT_FALSE(run.server.phase() == ServerSession::Phase::kDone);
    return;
  }
  ASSERT_EQ(ValuesOf(*sum), cohort.PlainSum(run.Survivors()));
  ++sums;
}

// As before anybody has said a word.
void StartAnew(Cohort& cohort) {
  for (uint32_t u = 0; u < cohort.n(); ++u) {
    cohort.client(u).ledger = MemoryLedger();
    cohort.Renew(u);
  }
}

// n = 100 complete, t = 56: with about 30 % gone most runs end well, with 45 % most do not. Keys
// and shares of a hundred are most of the work: an eleventh of the runs make their own, with
// clients that vanish before each, the others go on from the same ones.
class RandomDrops : public testing::TestWithParam<Mode> {};

TEST_P(RandomDrops, OfAHundredGiveTheSumOfTheSurvivorsOrAReason) {
  Params params = SmallParams(GetParam());
  params.n_max = 100;
  params.b = 25;
  Cohort cohort(100, params, false);
  TolerantRun begin(cohort);
  ASSERT_TRUE(begin.Advertise().ok());
  ASSERT_TRUE(begin.Share().ok());
  const Snapshot shared(cohort, begin.server);
  RandomCursor cursor(RandomStream(7, Purpose::kDropOut, static_cast<uint64_t>(GetParam())));
  int sums = 0;
  constexpr int kPatterns = 100;  // of either mode
  for (int pattern = 0; pattern < kPatterns; ++pattern) {
    const bool whole = pattern % 11 == 0;
    TolerantRun run(cohort);
    DropRandomly(cursor, pattern % 2 == 0 ? 30 : 45, whole ? 0 : 2, run);
    whole ? StartAnew(cohort) : shared.Restore(run.server);
    ExpectSumOrReason(cohort, run, whole ? run.Run() : run.Finish(), sums);
  }
  EXPECT_GT(sums, kPatterns / 4);
  EXPECT_LT(sums, kPatterns);
}

INSTANTIATE_TEST_SUITE_P(Of, RandomDrops, testing::Values(Mode::kSemiHonest, Mode::kMalicious),
                         [](const auto& p) {
                           return p.param == Mode::kMalicious ? "Mode1" : "Mode0";
                         });

}  // namespace
}  // namespace rivulet::secagg
