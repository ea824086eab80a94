#include <algorithm>

#include "tests/unit/privacy/secagg_machines/random_drops.h"

// n = 1000 on a ring: k = 254, t = 163 in mode 1.
namespace rivulet::secagg {
namespace {

Params OfAThousand(Mode mode = Mode::kMalicious) {
  Params params = RingParams(mode);
  params.gamma_ppm = 100'000;
  params.delta_ppm = 200'000;
  params.n_min = 600;
  params.n_max = 1000;
  params.complete_max = 256;
  params.b = 28;
  return params;
}

// A fifth of the clients vanish, in every phase.
void RunThousand(bool real_signatures) {
  Cohort cohort(1000, OfAThousand(), real_signatures);
  // Two of those who advertised give no nonce, as many as may be missing.
  TolerantRun run(cohort, [](Leg leg, uint32_t u, std::string bytes) {
    return leg == Leg::kReveal && (u == 5 || u == 6) ? std::string() : bytes;
  });
  RandomCursor cursor(RandomStream(3, Purpose::kDropOut, real_signatures));
  for (int& point : run.drop_at) {
    if (cursor.Bounded(100) < 20) point = static_cast<int>(cursor.Bounded(kStays));
  }
  run.drop_at[5] = run.drop_at[6] = kStays;
  for (int point = 0; point < kStays; ++point) {
    EXPECT_GT(std::count(run.drop_at.begin(), run.drop_at.end(), point), 20);
  }
  const auto sum = run.Run();
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(run.server.rule().k, 254u);
  EXPECT_EQ(run.server.rule().t, 163u);
  EXPECT_LT(run.Survivors().size(), 920u);
  EXPECT_EQ(ValuesOf(*sum), cohort.PlainSum(run.Survivors()));
}

// 550 of 1000 upload, where a sum has 600: nobody is asked for a share of a secret.
TEST(LargeRing, BelowTheThresholdRevealsNothing) {
  Cohort cohort(1000, OfAThousand(), false);
  int asked = 0;
  TolerantRun run(cohort, [&asked](Leg leg, uint32_t, std::string bytes) {
    asked += leg == Leg::kSurvivors || leg == Leg::kRequest || leg == Leg::kUnmask;
    return bytes;
  });
  for (uint32_t u = 0; u < 450; ++u) run.drop_at[u] = 2;
  EXPECT_TRUE(ReasonOf(run.Run().status()).has_value());
  EXPECT_EQ(run.server.phase(), ServerSession::Phase::kAborted);
  EXPECT_EQ(asked, 0);
}

TEST(LargeRing, GivesTheSumOfTheSurvivors) { RunThousand(false); }

TEST(LargeRing, GivesTheSumOfTheSurvivorsWithEveryOfAMillionSignaturesChecked) {
  RunThousand(true);
}

// 200 patterns in eight parts, which may run side by side. With a fifth of the clients gone runs
// end well; with so many as in every other pattern none is likely to, for some client keeps too few
// of those who hold its shares: 163 of 255 in mode 1, 33 of 75 in mode 0.
class RandomDropsOfAThousand : public testing::TestWithParam<std::tuple<Mode, int>> {};

TEST_P(RandomDropsOfAThousand, GiveTheSumOfTheSurvivorsOrAReason) {
  const auto [mode, part] = GetParam();
  Cohort cohort(1000, OfAThousand(mode), false);
  TryRandomPatterns(
      cohort,
      RandomCursor(RandomStream(11, Purpose::kDropOut, static_cast<uint64_t>(mode) * 4 + part)),
      {.count = 25,
       .fresh_every = 13,
       .percent_even = 20,
       .percent_odd = mode == Mode::kMalicious ? 36u : 48u});
}

INSTANTIATE_TEST_SUITE_P(Of, RandomDropsOfAThousand,
                         testing::Combine(testing::Values(Mode::kSemiHonest, Mode::kMalicious),
                                          testing::Range(0, 4)),
                         [](const auto& p) {
                           return NameOf(std::get<0>(p.param)) + "Part" +
                                  std::to_string(std::get<1>(p.param));
                         });

}  // namespace
}  // namespace rivulet::secagg
