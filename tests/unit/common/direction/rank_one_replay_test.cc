#include "common/direction/rank_one_replay.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/unit/common/direction/reference.h"

namespace rivulet {
namespace {

constexpr uint64_t kGoldenRoot = 0x0123456789ABCDEF;  // of the golden values

// "integer replay" of the design's golden table: tensor 7 as 2 x 3.
TEST(RankOneReplay, SumMatchesTheGoldenTable) {
  std::vector<int64_t> sum(6);
  ASSERT_TRUE(SumRankOne(kGoldenRoot, 0, std::vector<int32_t>{100, -7, 3}, {7, 2, 3}, sum).ok());
  EXPECT_EQ(sum, (std::vector<int64_t>{-96, -90, -90, 104, 110, 110}));
}

// Shapes around the tiles of 256 x 128, more terms than 32 bits hold (256 of the largest), and
// coefficients of both signs up to the largest.
TEST(RankOneReplay, SumIsTheExactOneOfEveryElement) {
  const DirectionSettings rank_one{DirectionKind::kLowRank, 1};
  for (const TensorPart& matrix :
       {TensorPart{3, 1, 1}, {3, 67, 5}, {5, 3, 1030}, {1, 300, 1}, {2, 260, 130}}) {
    std::vector<int32_t> values;
    for (int k = 0; k < 300; ++k) values.push_back(k % 3 ? kLargestFixed - k : -kLargestFixed);
    std::vector<int64_t> sum(matrix.elements()), want(matrix.elements());
    ASSERT_TRUE(SumRankOne(kGoldenRoot, 11, values, matrix, sum).ok());
    for (int64_t k = 0; k < 300; ++k) {
      std::vector<float> z(matrix.elements());
      for (size_t i = 0; i < z.size(); ++i) {
        z[i] = testing::ElementAt(rank_one, kGoldenRoot, 11 + k, matrix, static_cast<int64_t>(i));
      }
      for (size_t i = 0; i < z.size(); ++i) want[i] += z[i] > 0 ? values[k] : -values[k];
    }
    EXPECT_EQ(sum, want) << matrix.rows << " x " << matrix.columns;
  }
}

TEST(RankOneReplay, WeightsMoveByTheSumRoundedOnce) {
  const TensorPart matrix{4, 33, 130};
  FixedPoint coefficients;
  for (int k = 0; k < 270; ++k) coefficients.values.push_back((k * 7919 % 1001 - 500) * 16001);
  coefficients.exponent = -31;
  std::vector<int64_t> sum(matrix.elements());
  ASSERT_TRUE(SumRankOne(kGoldenRoot, 2, coefficients.values, matrix, sum).ok());
  std::vector<float> w(matrix.elements(), 0.3f);
  ASSERT_TRUE(AddRankOneReplay(kGoldenRoot, 2, coefficients, matrix, w).ok());
  for (size_t i = 0; i < w.size(); ++i) {
    ASSERT_EQ(w[i], 0.3f + static_cast<float>(static_cast<double>(sum[i]) * 0x1p-31)) << i;
  }
}

// In terms of the largest coefficient the error is at most half of 2^-22, and 2^-23 where the
// exponent did not have to grow.
TEST(FixedPoint, IsTheNearestAtTheSmallestExponentThatFits) {
  for (double largest : {1.0, 0.75, 1e-9, 0x1p-1060, 3e200, 127 * 0x10101 * 0x1p-23}) {
    const std::vector<double> coefficients = {largest, -largest / 3, 0, largest / 1e4};
    const FixedPoint fixed = ToFixedPoint(coefficients).value();
    for (size_t k = 0; k < coefficients.size(); ++k) {
      EXPECT_LE(std::abs(fixed.values[k]), kLargestFixed);
      EXPECT_NEAR(std::ldexp(fixed.values[k], fixed.exponent) / largest, coefficients[k] / largest,
                  0x1p-23)
          << largest << ", " << k;
    }
    EXPECT_GT(2 * int64_t{fixed.values[0]}, kLargestFixed - 2) << "an exponent less would fit";
  }
  EXPECT_EQ(ToFixedPoint(std::vector<double>{1.0}).value().values[0], 1 << 22);
  EXPECT_EQ(ToFixedPoint(std::vector<double>{0.0, 0.0}).value().values,
            (std::vector<int32_t>{0, 0}));
}

TEST(RankOneReplay, RefusesWhatItCannotHold) {
  std::vector<int64_t> sum(6);
  const TensorPart matrix{7, 2, 3};
  const auto code = [&](std::vector<int32_t> values, const TensorPart& part) {
    return SumRankOne(kGoldenRoot, 0, values, part, sum).code();
  };
  EXPECT_EQ(code({1}, matrix), absl::StatusCode::kOk);
  EXPECT_EQ(code({kLargestFixed + 1}, matrix), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({std::numeric_limits<int32_t>::min()}, matrix),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({1}, {7, 2, 4}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({1}, {7, 2, 3, 1}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ToFixedPoint(std::vector<double>{1, NAN}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rivulet
