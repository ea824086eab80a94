// The kernels on every instruction set of this machine: the reference's bits on each.
#include "common/direction/kernels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "hwy/highway.h"
#include "hwy/targets.h"
#include "tests/unit/common/direction/reference.h"

namespace rivulet::direction_kernels {
namespace {

const RandomStream kStream(17, Purpose::kDirection, 23);
constexpr size_t kLengths[] = {0, 1, 3, 4, 15, 16, 31, 32, 33, 63, 64, 65, 100, 1000, 2048};

class DirectionKernels : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

std::vector<int64_t> Targets() {
  std::vector<int64_t> targets;
  const int64_t all = hwy::SupportedTargets();
  for (int bit = 0; bit < 63; ++bit) {
    if (all & (int64_t{1} << bit) & HWY_TARGETS) targets.push_back(int64_t{1} << bit);
  }
  return targets;
}
INSTANTIATE_TEST_SUITE_P(All, DirectionKernels, ::testing::ValuesIn(Targets()),
                         [](const auto& info) { return hwy::TargetName(info.param); });

std::vector<float> Normal(size_t n, uint64_t index = 0) {
  std::vector<float> values(n);
  RandomStream(5, Purpose::kBaseTensor, index).FillGauss(0, values);
  return values;
}

TEST_P(DirectionKernels, WordsAreThoseOfTheStream) {
  const uint64_t carry = uint64_t{1} << 32;  // from here on a block number needs a 33rd bit
  for (uint64_t first : {uint64_t{0}, uint64_t{77}, carry - 40, carry - 3, carry}) {
    for (size_t blocks : {0, 1, 3, 8, 16, 17, 64}) {
      std::vector<uint32_t> words(4 * blocks + 1, 7);
      FillWords(kStream, 3, first, {words.data(), 4 * blocks});
      for (size_t i = 0; i < 4 * blocks; ++i) {
        ASSERT_EQ(words[i], kStream.Block(first + i / 4, 3).word[i % 4]) << first << " + " << i;
      }
      EXPECT_EQ(words.back(), 7u) << "wrote beyond the end";
    }
  }
}

TEST_P(DirectionKernels, GaussHasTheBitsOfTheScalarOne) {
  for (uint64_t first : {uint64_t{0}, uint64_t{5}, (uint64_t{1} << 32) - 9}) {
    for (size_t n : kLengths) {
      std::vector<float> got(n + 1, 7), want(n);
      FillGauss(kStream, 2, first, {got.data(), n});
      kStream.FillGauss(2, want, first);
      for (size_t i = 0; i < n; ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i])) << i;
      }
      EXPECT_EQ(got[n], 7) << "wrote beyond the end";
    }
  }
}

// Beyond the golden table's million: each quadrant and exponent many times over.
TEST_P(DirectionKernels, GaussHasTheBitsOfTheScalarOneOverAMillion) {
  std::vector<float> got(1 << 20), want(1 << 20);
  FillGauss(kStream, 1, 0, got);
  kStream.FillGauss(1, want);
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i])) << i;
  }
}

TEST_P(DirectionKernels, SignsComeFromAnyBitOn) {
  std::vector<uint32_t> words(80);
  FillWords(kStream, 0, 0, words);
  for (size_t n : kLengths) {
    for (uint64_t bit : {0, 1, 31, 32, 127}) {
      for (bool flip : {false, true}) {
        std::vector<float> z(n + 1, 7), sum(n + 1, 7);
        FillSigns(words.data(), bit, flip, {z.data(), n});
        AddSigns(words.data(), bit, flip, {sum.data(), n});
        for (size_t i = 0; i < n; ++i) {
          const float want =
              static_cast<float>(testing::SignAt(kStream, 0, bit + i)) * (flip ? -1.0f : 1.0f);
          ASSERT_EQ(z[i], want) << bit << " + " << i;
          ASSERT_EQ(sum[i], 7 + want) << bit << " + " << i;
        }
        EXPECT_EQ(z[n], 7) << "wrote beyond the end";
      }
    }
  }
}

TEST_P(DirectionKernels, AddingIsOneFusedOperation) {
  for (size_t n : kLengths) {
    const std::vector<float> z = Normal(n, 1), base = Normal(n, 2);
    std::vector<float> w(n + 1, 7);
    AddScaled(0.3f, z, base.data(), w.data());
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(w[i], std::fma(0.3f, z[i], base[i])) << i;
    EXPECT_EQ(w[n], 7) << "wrote beyond the end";
  }
}

// Of the two neighbours in bfloat16 the nearer, of two equally near the even one: found by
// comparing distances in double.
TEST_P(DirectionKernels, Bfloat16IsRoundedToNearestEven) {
  std::vector<float> z = Normal(2048, 1);
  std::vector<uint16_t> w(z.size()), before;
  for (size_t i = 0; i < w.size(); ++i) {
    w[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(z[(i * 7) % w.size()]) >> 16);
    if (i % 3 == 0) z[i] = i % 2 ? 1.0f : -1.0f;
  }
  before = w;
  for (float scale : {0.001f, 0x1p-9f, 1.5f}) {
    w = before;
    AddScaled(scale, z, w.data());
    for (size_t i = 0; i < w.size(); ++i) {
      const float exact = std::fma(scale, z[i], std::bit_cast<float>(uint32_t{before[i]} << 16));
      const uint32_t below = std::bit_cast<uint32_t>(exact) >> 16;  // towards zero
      const auto distance = [&](uint32_t half) {
        return std::abs(double{std::bit_cast<float>(half << 16)} - double{exact});
      };
      const bool up = distance(below + 1) < distance(below) ||
                      (distance(below + 1) == distance(below) && below % 2 == 1);
      ASSERT_EQ(w[i], up ? below + 1 : below) << "element " << i << ", scale " << scale;
    }
  }
}

TEST_P(DirectionKernels, ProductsGoToSixteenSums) {
  for (size_t n : kLengths) {
    const std::vector<float> z = Normal(n, 1), g = Normal(n, 2);
    DotSums got, want;
    got.sums[3] = want.sums[3] = 0.25;
    AddProducts(z, g.data(), got.sums);
    for (size_t i = 0; i < n; ++i) want.sums[i % 16] += double{z[i]} * double{g[i]};
    for (size_t i = 0; i < kDotSums; ++i) ASSERT_EQ(got.sums[i], want.sums[i]) << n << ", " << i;
  }
}

}  // namespace
}  // namespace rivulet::direction_kernels
