#include "tests/statistical/noise_law.h"

namespace rivulet {
namespace {

TEST(NoiseLaw, HoldsOverTenMillionDraws) {
  ExpectDiscreteGaussianLaw(1, 4, 10'000'000);
  ExpectDiscreteGaussianLaw(100, 1, 10'000'000);
  ExpectDiscreteGaussianLaw(1'000'000, 7, 10'000'000);
}

TEST(NoiseLaw, SkellamHoldsOverAMillionDraws) {
  ExpectSkellamLaw(10'000, 1'000'000);  // both sides above the change to the fast sampler
  ExpectSkellamLaw(2, 1'000'000);
}

}  // namespace
}  // namespace rivulet
