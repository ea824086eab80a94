#include <gtest/gtest.h>

#include "common/random.h"
#include "tests/unit/privacy/secagg_machines/cohort.h"

// n = 1000 on a ring of k = 254, t = 163: a fifth of the clients vanish.
namespace rivulet::secagg {
namespace {

void RunThousand(bool real_signatures) {
  Params params = RingParams();
  params.gamma_ppm = 100'000;
  params.delta_ppm = 200'000;
  params.n_min = 600;
  params.n_max = 1000;
  params.complete_max = 256;
  params.b = 28;
  Cohort cohort(1000, params, real_signatures);
  TolerantRun run(cohort);
  RandomCursor cursor(RandomStream(3, Purpose::kDropOut, real_signatures));
  for (int& point : run.drop_at) {
    if (cursor.Bounded(100) < 18) point = 1 + static_cast<int>(cursor.Bounded(4));
  }
  // Two nonces may be missing: whoever would go before its shares goes after them.
  for (int& point : run.drop_at) point = point == 1 ? 2 : point;
  const auto sum = run.Run();
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(run.server.rule().k, 254u);
  EXPECT_EQ(run.server.rule().t, 163u);
  EXPECT_LT(run.Survivors().size(), 920u);
  EXPECT_EQ(ValuesOf(*sum), cohort.PlainSum(run.Survivors()));
}

TEST(LargeRing, GivesTheSumOfTheSurvivors) { RunThousand(false); }

TEST(LargeRing, GivesTheSumOfTheSurvivorsWithEveryOfAMillionSignaturesChecked) {
  RunThousand(true);
}

}  // namespace
}  // namespace rivulet::secagg
