#pragma once

#include <gtest/gtest.h>

#include "common/random.h"
#include "tests/unit/privacy/secagg_machines/cohort.h"

// Random patterns of clients that vanish, in cohorts too large to try them all.
namespace rivulet::secagg {

// Every client goes with chance `percent` at a point of `first`..4.
inline void DropRandomly(RandomCursor& cursor, uint32_t percent, int first, TolerantRun& run) {
  for (int& point : run.drop_at) {
    if (cursor.Bounded(100) < percent) point = first + static_cast<int>(cursor.Bounded(5 - first));
  }
}

inline void ExpectSumOrReason(Cohort& cohort, const TolerantRun& run,
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
inline void StartAnew(Cohort& cohort) {
  for (uint32_t u = 0; u < cohort.n(); ++u) {
    cohort.client(u).ledger = MemoryLedger();
    cohort.Renew(u);
  }
}

struct RandomPatterns {
  int count = 0;
  int fresh_every = 1;        // so often a pattern makes its own keys
  uint32_t percent_even = 0;  // chance of a client to vanish, in every other pattern
  uint32_t percent_odd = 0;
};

// Keys and shares are most of the work: patterns with their own have clients that vanish before
// each, the others go on from the same ones. Some patterns must give a sum, and not all.
inline void TryRandomPatterns(Cohort& cohort, RandomCursor cursor, const RandomPatterns& patterns) {
  TolerantRun begin(cohort);
  ASSERT_TRUE(begin.Advertise().ok());
  ASSERT_TRUE(begin.Share().ok());
  const Snapshot shared(cohort, begin.server);
  int sums = 0;
  for (int pattern = 0; pattern < patterns.count; ++pattern) {
    const bool whole = pattern % patterns.fresh_every == 0;
    TolerantRun run(cohort);
    DropRandomly(cursor, pattern % 2 == 0 ? patterns.percent_even : patterns.percent_odd,
                 whole ? 0 : 2, run);
    whole ? StartAnew(cohort) : shared.Restore(run.server);
    ExpectSumOrReason(cohort, run, whole ? run.Run() : run.Finish(), sums);
  }
  EXPECT_GT(sums, patterns.count / 4);
  EXPECT_LT(sums, patterns.count);
}

inline std::string NameOf(Mode mode) { return mode == Mode::kMalicious ? "Mode1" : "Mode0"; }

}  // namespace rivulet::secagg
