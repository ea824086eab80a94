#include "tests/unit/privacy/secagg/seed_search.h"

#include <gtest/gtest.h>

#include "tests/unit/privacy/seeded_entropy.h"

namespace rivulet::secagg {
namespace {

// The whole space of pair seeds of a published implementation: 28 free bits.
TEST(SeedSearch, TwoToThe28GuessesFindAFoldedSeedAndNoWholeOne) {
  if (BestMaskKernel() == MaskKernel::kPortable) GTEST_SKIP() << "no AES instructions";
  EXPECT_TRUE(FindsSeed(MaskOfSeed(FoldedSeed(0x0ABCDEF)), 28));
  EXPECT_FALSE(FindsSeed(MaskOfSeed(SeededEntropy(3).Secret()), 28));
}

}  // namespace
}  // namespace rivulet::secagg
