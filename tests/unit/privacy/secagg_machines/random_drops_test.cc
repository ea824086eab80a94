#include "tests/unit/privacy/secagg_machines/random_drops.h"

namespace rivulet::secagg {
namespace {

class RandomDrops : public testing::TestWithParam<Mode> {};

// n = 100 complete, t = 56: with about 30 % gone most runs end well, with 45 % most do not.
TEST_P(RandomDrops, OfAHundredGiveTheSumOfTheSurvivorsOrAReason) {
  Params params = SmallParams(GetParam());
  params.n_max = 100;
  params.b = 25;
  Cohort cohort(100, params, false);
  TryRandomPatterns(
      cohort, RandomCursor(RandomStream(7, Purpose::kDropOut, static_cast<uint64_t>(GetParam()))),
      {.count = 100, .fresh_every = 11, .percent_even = 30, .percent_odd = 45});
}

INSTANTIATE_TEST_SUITE_P(Of, RandomDrops, testing::Values(Mode::kSemiHonest, Mode::kMalicious),
                         [](const auto& p) { return NameOf(p.param); });

}  // namespace
}  // namespace rivulet::secagg
