#include "peft/kernels/dropout.h"

#include <gtest/gtest.h>

#include <vector>

namespace rivulet::kernels {
namespace {

const RandomStream kStream(3, Purpose::kDropout, 4);

// Element i of the mask as dropout.h states it.
float Factor(double rate, uint64_t i) {
  const uint32_t word = kStream.Block(i >> 2, 5).word[i & 3];
  return (word >> 8) < rate * 0x1p24 ? 0.0f : static_cast<float>(1 / (1 - rate));
}

void ExpectTheMask(int64_t first, int64_t n) {
  const DropoutMask mask = DropoutMaskOf(kStream, 5, 0.3);
  std::vector<float> x(n), y(n + 1, -7.0f);
  for (int64_t i = 0; i < n; ++i) x[i] = 1.0f + static_cast<float>(i);
  Dropout(mask, first, x.data(), y.data(), n);
  for (int64_t i = 0; i < n; ++i) {
    ASSERT_EQ(y[i], x[i] * Factor(0.3, first + i)) << "element " << first << " + " << i;
  }
  EXPECT_EQ(y[n], -7.0f) << "wrote beyond the end";
}

TEST(Dropout, IsTheAddressedMaskAtEveryLengthAndStart) {
  for (int64_t n : {1, 3, 4, 15, 16, 17, 63, 64, 65, 200}) {
    for (int64_t first : {0, 4, 60, 1024}) ExpectTheMask(first, n);
  }
}

TEST(Dropout, CountsBlocksBeyond32Bits) {
  const int64_t carry = int64_t{4} << 32;  // the first element whose block needs a 33rd bit
  for (int64_t first : {carry - 200, carry - 64, carry - 4, carry, carry + 4}) {
    ExpectTheMask(first, 300);
  }
}

TEST(Dropout, AnotherTensorHasAnotherMask) {
  const std::vector<float> x(1000, 1.0f);
  std::vector<float> one(1000), other(1000);
  Dropout(DropoutMaskOf(kStream, 2, 0.5), 0, x.data(), one.data(), 1000);
  Dropout(DropoutMaskOf(kStream, 3, 0.5), 0, x.data(), other.data(), 1000);
  EXPECT_NE(one, other);
}

// 40,000 draws at rate 0.25: four standard deviations are 346; a false alarm once in 16,000 seeds.
TEST(Dropout, DropsTheShareAskedForAndScalesTheRest) {
  const std::vector<float> x(40000, 3.0f);
  std::vector<float> y(x.size());
  Dropout(DropoutMaskOf(kStream, 5, 0.25), 0, x.data(), y.data(), 40000);
  int64_t dropped = 0;
  for (float value : y) {
    dropped += value == 0;
    if (value != 0) {
      EXPECT_FLOAT_EQ(value, 4.0f);
    }
  }
  EXPECT_NEAR(static_cast<double>(dropped), 10000, 346);
}

TEST(Dropout, PiecesEqualTheWhole) {
  const DropoutMask mask = DropoutMaskOf(kStream, 1, 0.5);
  std::vector<float> x(1000, 1.0f), whole(1000), parts(1000);
  Dropout(mask, 0, x.data(), whole.data(), 1000);
  Dropout(mask, 0, x.data(), parts.data(), 388);
  Dropout(mask, 388, x.data() + 388, parts.data() + 388, 612);
  EXPECT_EQ(whole, parts);
}

}  // namespace
}  // namespace rivulet::kernels
