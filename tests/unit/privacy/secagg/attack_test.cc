#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/privacy/area_under_curve.h"
#include "tests/unit/privacy/secagg/seed_search.h"
#include "tests/unit/privacy/seeded_entropy.h"

// Attacks on the mask generator that succeed on the mistakes others made.
namespace rivulet::secagg {
namespace {

TEST(SeedSearch, FindsAFoldedSeedAndNoWholeOne) {
  if (BestMaskKernel() == MaskKernel::kPortable) GTEST_SKIP() << "no AES instructions";
  EXPECT_TRUE(FindsSeed(MaskOfSeed(FoldedSeed(0x3FFFF)), 18));
  EXPECT_FALSE(FindsSeed(MaskOfSeed(SeededEntropy(1).Secret()), 24));
}

// Whether the masked vectors of two inputs chosen by the attacker can be told apart by their first
// element, their sum or their largest element. The area under the curve of 60000 against 60000 has
// a standard deviation of 0.0017: beyond 0.01 by chance 2e-9, for each of the three.
struct Statistics {
  std::vector<double> first, sum, largest;
};

Statistics StatisticsOf(int64_t input, bool masked, Entropy& entropy) {
  Statistics seen;
  for (int repeat = 0; repeat < 60000; ++repeat) {
    RingVector vector(24, 8);
    for (size_t at = 0; at < 8; ++at) vector.SetSigned(at, input);
    const Mask masks[] = {{entropy.Secret(), false}, {entropy.Secret(), true}};
    if (masked) ApplyMasks(vector, masks);
    double sum = 0, largest = 0;
    for (size_t at = 0; at < 8; ++at) {
      sum += static_cast<double>(vector.At(at));
      largest = std::max(largest, static_cast<double>(vector.At(at)));
    }
    seen.first.push_back(static_cast<double>(vector.At(0)));
    seen.sum.push_back(sum);
    seen.largest.push_back(largest);
  }
  return seen;
}

TEST(Distinguisher, TellsPlainInputsApartAndMaskedOnesNot) {
  SeededEntropy entropy(2);
  const Statistics plain_a = StatisticsOf(0, false, entropy);
  const Statistics plain_b = StatisticsOf(32767, false, entropy);
  EXPECT_EQ(AreaUnderCurve(plain_a.sum, plain_b.sum), 1);
  const Statistics a = StatisticsOf(0, true, entropy), b = StatisticsOf(32767, true, entropy);
  EXPECT_NEAR(AreaUnderCurve(a.first, b.first), 0.5, 0.01);
  EXPECT_NEAR(AreaUnderCurve(a.sum, b.sum), 0.5, 0.01);
  EXPECT_NEAR(AreaUnderCurve(a.largest, b.largest), 0.5, 0.01);
}

}  // namespace
}  // namespace rivulet::secagg
