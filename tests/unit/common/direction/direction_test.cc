#include "common/direction/direction.h"

#include <gtest/gtest.h>

#include <bit>
#include <string>
#include <vector>

#include "common/direction/directions.h"
#include "common/direction/low_rank.h"
#include "tests/unit/common/direction/reference.h"

namespace rivulet {
namespace {

constexpr uint64_t kRoot = 0x0123456789ABCDEF;  // of the golden values

std::vector<float> Drawn(const DirectionSettings& settings, uint64_t index, TensorPart part,
                         size_t n) {
  std::vector<float> z(n);
  MakeDirection(settings, kRoot, index)->Fill(part, z);
  return z;
}

std::string SignsOf(const std::vector<float>& z) {
  std::string text;
  for (float value : z) text += value == 1 ? '+' : value == -1 ? '-' : '?';
  return text;
}

// Golden values of the design's section on shared randomness.
TEST(Direction, RademacherMatchesTheGoldenTable) {
  const DirectionSettings signs{DirectionKind::kRademacher};
  EXPECT_EQ(SignsOf(Drawn(signs, 0, {0, 1 << 20, 1}, 16)), "++--+-+--+----++");
  EXPECT_EQ(SignsOf(Drawn(signs, 0, {7, 1 << 20, 1}, 16)), "+-+--++-++--+-+-");
  int64_t plus = 0;
  for (float value : Drawn(signs, 0, {0, 1 << 20, 1}, 1 << 20)) plus += value > 0;
  EXPECT_EQ(plus, 524641);
}

TEST(Direction, GaussMatchesTheGoldenTable) {
  const DirectionSettings gauss{DirectionKind::kGauss};
  const std::vector<float> seventh = Drawn(gauss, 0, {7, 4, 1}, 4);
  const uint32_t want[] = {0x3F082AB5, 0xBF945492, 0x3EDFF56C, 0xBF2368E6};
  for (int i = 0; i < 4; ++i) EXPECT_EQ(std::bit_cast<uint32_t>(seventh[i]), want[i]) << i;
  uint32_t folded = 0;
  uint64_t sum = 0;
  for (float value : Drawn(gauss, 0, {0, 1 << 20, 1}, 1 << 20)) {
    folded ^= std::bit_cast<uint32_t>(value);
    sum += std::bit_cast<uint32_t>(value);
  }
  EXPECT_EQ(folded, 0xF0309837u);
  EXPECT_EQ(sum, 0x0007F0D62CF2D181u);
}

// Tensor 7 as 2 x 3: a = "+-", b = "---"; and as 4 x 6: a = "+-+-", b = "----+-".
TEST(Direction, RankOneMatchesTheGoldenTable) {
  const DirectionSettings rank_one{DirectionKind::kLowRank, 1};
  EXPECT_EQ(SignsOf(Drawn(rank_one, 0, {7, 4, 6}, 24)), "----+-++++-+----+-++++-+");
}

// "integer replay": indices 0, 1, 2 with coefficients 100, -7, 3.
TEST(Direction, RankOneReplayMatchesTheGoldenTable) {
  std::vector<float> sum(6);
  const float coefficients[] = {100, -7, 3};
  for (uint64_t index = 0; index < 3; ++index) {
    const auto z = MakeDirection({DirectionKind::kLowRank, 1}, kRoot, index);
    AddDirection(*z, {7, 2, 3}, coefficients[index], sum);
  }
  EXPECT_EQ(sum, (std::vector<float>{-96, -90, -90, 104, 110, 110}));
}

constexpr DirectionSettings kAll[] = {{DirectionKind::kRademacher},
                                      {DirectionKind::kGauss},
                                      {DirectionKind::kLowRank, 1},
                                      {DirectionKind::kLowRank, 3},
                                      {DirectionKind::kLowRank, 4}};

// What every kind keeps; a new one joins by itself.
class DirectionContract : public ::testing::TestWithParam<DirectionSettings> {
 protected:
  std::unique_ptr<const Direction> Make(uint64_t index) const {
    return MakeDirection(GetParam(), kRoot, index);
  }
};
INSTANTIATE_TEST_SUITE_P(All, DirectionContract, ::testing::ValuesIn(kAll), [](const auto& info) {
  return "kind" + std::to_string(static_cast<int>(info.param.kind)) + "rank" +
         std::to_string(info.param.rank);
});

TEST_P(DirectionContract, EveryElementIsTheReference) {
  for (const TensorPart& part : {TensorPart{3, 37, 91}, {3, 1, 5000}, {3, 5000, 1}, {9, 3, 2049}}) {
    std::vector<float> z(part.elements());
    Make(5)->Fill(part, z);
    for (int64_t i = 0; i < part.elements(); ++i) {
      ASSERT_EQ(z[i], testing::ElementAt(GetParam(), kRoot, 5, part, i))
          << part.rows << " x " << part.columns << ", element " << i;
    }
  }
}

TEST_P(DirectionContract, PartsEqualTheWhole) {
  TensorPart part{2, 45, 77};
  std::vector<float> whole(part.elements()), parts(part.elements());
  const auto z = Make(1);
  z->Fill(part, whole);
  const std::span<float> all = parts;
  for (size_t size : {1, 2, 75, 130, 1, 2048, 1208}) {
    z->Fill(part, all.subspan(part.first, size));
    part.first += static_cast<int64_t>(size);
  }
  ASSERT_EQ(part.first, part.elements());
  EXPECT_EQ(parts, whole);
}

TEST_P(DirectionContract, AnotherIndexOrTensorIsAnotherDirection) {
  const TensorPart part{0, 20, 20};
  std::vector<float> z(400), other(400);
  Make(0)->Fill(part, z);
  Make(1)->Fill(part, other);
  EXPECT_NE(z, other);
  Make(0)->Fill({1, 20, 20}, other);
  EXPECT_NE(z, other);
}

TEST_P(DirectionContract, AddingRoundsOnceAndTheBaseKeepsItsBits) {
  const TensorPart part{4, 41, 101};
  std::vector<float> z(part.elements()), base(part.elements()), out(part.elements());
  Make(3)->Fill(part, z);
  RandomStream(2, Purpose::kBaseTensor, 0).FillGauss(0, base);
  const std::vector<float> before = base;
  AddDirection(*Make(3), part, 0.1f, base, out);
  EXPECT_EQ(base, before);
  AddDirection(*Make(3), part, 0.1f, base);
  EXPECT_EQ(base, out);
  for (size_t i = 0; i < z.size(); ++i) ASSERT_EQ(out[i], std::fma(0.1f, z[i], before[i])) << i;
}

TEST_P(DirectionContract, DotIsTheSumOfExactProducts) {
  const TensorPart part{4, 41, 101};
  std::vector<float> z(part.elements()), g(part.elements());
  Make(3)->Fill(part, z);
  RandomStream(2, Purpose::kBaseTensor, 0).FillGauss(0, g);
  double sums[16] = {};
  for (size_t i = 0; i < z.size(); ++i) sums[i % 16] += double{z[i]} * double{g[i]};
  for (int half : {8, 4, 2, 1}) {
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  EXPECT_EQ(DotDirection(*Make(3), part, g), sums[0]);
}

// E[z z^T] = I, by means of 20 directions over 400 x 400. Five standard errors of the worst kind
// are 0.056: neighbours' products of rank one repeat in every row, which leaves 20 x 400 of them. A
// false alarm in fewer than one of a million seeds.
TEST_P(DirectionContract, ElementsAreUncorrelatedWithVarianceOne) {
  const TensorPart part{0, 400, 400};
  std::vector<float> z(part.elements());
  double squares = 0, neighbours = 0;
  for (uint64_t index = 0; index < 20; ++index) {
    Make(index)->Fill(part, z);
    for (size_t i = 0; i + 1 < z.size(); ++i) {
      squares += double{z[i]} * z[i];
      neighbours += double{z[i]} * z[i + 1];
    }
  }
  const double count = 20.0 * static_cast<double>(z.size() - 1);
  EXPECT_NEAR(squares / count, 1, 0.06);
  EXPECT_NEAR(neighbours / count, 0, 0.06);
}

// Perturbing in place: + eps, - 2 eps, + eps rounds three times at a size of at most |w| + eps,
// each time by half a unit in the last place: 2^-24 of that in binary32 and 2^-8 in bfloat16. (2
// eps z is exact.)
TEST(Direction, InPlaceRoundTripsDriftByAtMostThreeRoundings) {
  const float eps = 0.01f;
  const auto z = MakeDirection({DirectionKind::kRademacher}, kRoot, 0);
  const TensorPart part{0, 100, 100};
  std::vector<float> w(part.elements());
  RandomStream(2, Purpose::kBaseTensor, 0).FillGauss(0, w);
  for (float& value : w) value *= 0.02f;
  const std::vector<float> before = w;
  std::vector<uint16_t> half;
  for (float value : w) half.push_back(std::bit_cast<uint32_t>(value) >> 16);
  const std::vector<uint16_t> half_before = half;
  for (float scale : {eps, -2 * eps, eps}) {
    AddDirection(*z, part, scale, w);
    AddDirection(*z, part, scale, std::span(half));
  }
  int drifted = 0, half_drifted = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    ASSERT_LE(std::abs(w[i] - before[i]), 3 * 0x1.01p-24f * (std::abs(before[i]) + eps)) << i;
    const float a = std::bit_cast<float>(uint32_t{half[i]} << 16);
    const float b = std::bit_cast<float>(uint32_t{half_before[i]} << 16);
    ASSERT_LE(std::abs(a - b), 3 * 0x1.02p-8f * (std::abs(b) + eps)) << i;
    drifted += w[i] != before[i];
    half_drifted += a != b;
  }
  RecordProperty("binary32_drifted_percent", drifted / 100);
  RecordProperty("bfloat16_drifted_percent", half_drifted / 100);
  EXPECT_GT(drifted, 0) << "then nothing would need a copy";
  EXPECT_GT(half_drifted, 0);
}

// Where weights and eps are multiples of g, and |w| + eps is below 2^24 g, nothing is rounded: with
// signs, a round trip in place gives every bit back, at no memory. Here g = 2^-24 and |w| < 0.2.
TEST(Direction, InPlaceRoundTripsAreExactOnAGrid) {
  const auto z = MakeDirection({DirectionKind::kRademacher}, kRoot, 0);
  const TensorPart part{0, 100, 100};
  std::vector<float> w(part.elements());
  RandomStream(2, Purpose::kBaseTensor, 0).FillGauss(0, w);
  for (float& value : w) value = std::nearbyint(0.02f * value * 0x1p24f) * 0x1p-24f;
  const std::vector<float> before = w;
  const float eps = std::nearbyint(0.01f * 0x1p24f) * 0x1p-24f;
  for (float scale : {eps, -2 * eps, eps}) AddDirection(*z, part, scale, w);
  EXPECT_EQ(w, before);
}

// Rank 4 has the exact factor 1/2, so the product can be compared with a dense one closely.
// LOZO: directions 6 and 7 of renewal 2 have the right factors of 3 and left ones of their own, so
// both are a b^T with the same rows but for signs, up to rank one.
TEST(LowRankDirection, RenewedLazilyTheRightFactorsStay) {
  const TensorPart matrix{3, 9, 14, 0};
  std::vector<float> six(126), seven(126), eight(126);
  const DirectionSettings settings{DirectionKind::kLowRank, 1, 2};
  MakeDirection(settings, kRoot, 6)->Fill(matrix, six);
  MakeDirection(settings, kRoot, 7)->Fill(matrix, seven);
  MakeDirection(settings, kRoot, 8)->Fill(matrix, eight);
  const auto same_rows = [](const std::vector<float>& x, const std::vector<float>& y) {
    for (size_t row = 0; row < 9; ++row) {
      const float sign = x[row * 14] * y[row * 14];
      for (size_t column = 0; column < 14; ++column) {
        if (x[row * 14 + column] != sign * y[row * 14 + column]) return false;
      }
    }
    return true;
  };
  EXPECT_TRUE(same_rows(six, seven));
  EXPECT_NE(six, seven);
  EXPECT_FALSE(same_rows(seven, eight));  // equal once in 8,000 seeds
}

TEST(LowRankDirection, ProductEqualsTheDenseOne) {
  const TensorPart matrix{6, 70, 133};
  const LowRankDirection direction(4, kRoot, 2, 2);
  std::vector<float> z(matrix.elements()), x(3 * 133), y(3 * 70, 0.5f);
  direction.Fill(matrix, z);
  RandomStream(2, Purpose::kBaseTensor, 0).FillGauss(0, x);
  direction.AddProduct(matrix, 0.25f, x, y);
  for (int row = 0; row < 3; ++row) {
    for (int i = 0; i < 70; ++i) {
      double want = 0.5;
      for (int j = 0; j < 133; ++j) want += 0.25 * double{z[i * 133 + j]} * x[row * 133 + j];
      // Four roundings of binary32 at a size below 32.
      ASSERT_NEAR(y[row * 70 + i], want, 4 * 0x1p-20) << row << ", " << i;
    }
  }
}

TEST(LowRankDirection, FactorsOfATensorAreWhatItsElementsAreMadeOf) {
  const Manifest manifest = {{"a", DType::kF32, {7}}, {"b", DType::kF32, {9, 150}}};
  const DirectionSettings settings{DirectionKind::kLowRank, 3, 2};
  const Directions directions(settings, kRoot, manifest);
  for (const uint64_t index : {6, 7}) {
    const auto factors = directions.FactorsOf(index, 1);
    ASSERT_TRUE(factors.has_value());
    ASSERT_EQ(factors->left.size(), 3u * 9);
    ASSERT_EQ(factors->right.size(), 3u * 150);
    const std::vector<float> z = Drawn(settings, index, {1, 9, 150}, 9 * 150);
    for (int64_t i = 0; i < 9; ++i) {
      for (int64_t j = 0; j < 150; ++j) {
        float sum = 0;
        for (int k = 0; k < 3; ++k) sum += factors->left[k * 9 + i] * factors->right[k * 150 + j];
        ASSERT_EQ(sum * factors->scale, z[i * 150 + j]);
      }
    }
  }
  EXPECT_FALSE(Directions({DirectionKind::kGauss}, kRoot, manifest).FactorsOf(6, 1).has_value());
  EXPECT_FALSE(Directions(settings, kRoot, manifest, 0, 2).FactorsOf(6, 1).has_value());
  EXPECT_TRUE(Directions(settings, kRoot, manifest, 1, 2).FactorsOf(6, 1).has_value());
}

TEST(PartsOf, MatricesHaveRowsAndColumnsTheRestIsOneColumn) {
  const Manifest manifest = {{"a", DType::kF32, {3, 5}}, {"b", DType::kF32, {7}}};
  const std::vector<TensorPart> parts = PartsOf(manifest);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].rows, 3);
  EXPECT_EQ(parts[0].columns, 5);
  EXPECT_EQ(parts[1].tensor, 1u);
  EXPECT_EQ(parts[1].rows, 7);
  EXPECT_EQ(parts[1].columns, 1);
}

}  // namespace
}  // namespace rivulet
