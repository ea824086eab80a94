#include "tests/statistical/noise_law.h"

namespace rivulet {
namespace {

constexpr int64_t kDraws = 100'000'000;

TEST(NoiseLawLong, HoldsAtAQuarter) { ExpectDiscreteGaussianLaw(1, 4, kDraws); }
TEST(NoiseLawLong, HoldsAtOne) { ExpectDiscreteGaussianLaw(1, 1, kDraws); }
TEST(NoiseLawLong, HoldsAtFour) { ExpectDiscreteGaussianLaw(4, 1, kDraws); }
TEST(NoiseLawLong, HoldsAtAHundred) { ExpectDiscreteGaussianLaw(100, 1, kDraws); }
TEST(NoiseLawLong, HoldsAtAFraction) { ExpectDiscreteGaussianLaw(30'000, 7, kDraws); }
TEST(NoiseLawLong, SkellamHolds) { ExpectSkellamLaw(20'000, kDraws / 10); }

}  // namespace
}  // namespace rivulet
