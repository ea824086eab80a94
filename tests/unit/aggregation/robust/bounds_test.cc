#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "aggregation/robust/sum_bounds.h"
#include "aggregation/robust/update_bounds.h"
#include "tests/unit/aggregation/robust/cohort.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

TEST(CheckNorm, TenTimesTheBoundIsTheMost) {
  EXPECT_TRUE(CheckNorm(0, 5).ok());
  EXPECT_TRUE(CheckNorm(50.0 * 50.0, 5).ok());
  const absl::Status refused = CheckNorm(50.1 * 50.1, 5);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.message(), HasSubstr("L2 norm: got 50.1"));
  EXPECT_THAT(refused.message(), HasSubstr("want at most 50, "));
  EXPECT_EQ(RemedyOf(refused), Remedy::kLeaveRun);
}

TEST(CheckNorm, WithoutABoundAnyNormPasses) { EXPECT_TRUE(CheckNorm(1e300, 0).ok()); }

const SumBounds kSum{.survivors = 10, .weight_cap = 2, .level_limit = 100, .scale = 50, .clip = 3};

TEST(CheckSum, EveryCoordinateAndTheNormAreBounded) {
  // Coordinates within 10 * 2 * 100; the norm within 10 * 2 * (50 * 3 + sqrt(4)) = 3040.
  const std::vector<int64_t> fine = {2000, -2000, 1000, 0};
  const auto got = CheckSum(fine, kSum, {});
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->norm, 3000);
  EXPECT_EQ(got->norm_of_mean, 3000.0 / 500);
  EXPECT_FALSE(got->flagged);
  const std::vector<int64_t> wide = {0, -2001, 0, 0};
  EXPECT_EQ(CheckSum(wide, kSum, {}).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(CheckSum(wide, kSum, {}).status().message(), HasSubstr("sum[1]: got -2001, want"));
  const std::vector<int64_t> long_one = {2000, 2000, 2000, 0};
  EXPECT_THAT(CheckSum(long_one, kSum, {}).status().message(),
              HasSubstr("norm of the sum: got 3464"));
}

TEST(CheckSum, NoiseIsAllowedFor) {
  SumBounds noisy = kSum;
  noisy.noise_coordinate = 10;
  noisy.noise_norm = 500;
  EXPECT_TRUE(CheckSum(std::vector<int64_t>{-2010, 2000, 2000, 0}, noisy, {}).ok());
  EXPECT_FALSE(CheckSum(std::vector<int64_t>{-2011, 0, 0, 0}, noisy, {}).ok());
}

TEST(CheckSum, RingVectorsAtTheEndsOfTheRangeAreRefusedWithoutOverflow) {
  for (const int64_t value :
       {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}) {
    EXPECT_EQ(CheckSum(std::vector<int64_t>(4, value), kSum, {}).status().code(),
              absl::StatusCode::kOutOfRange);
  }
}

// Uniform in a ring of 20 bits: a coordinate passes with probability 4001 / 2^20.
TEST(CheckSum, GarbageOfTheRingIsRefused) {
  RandomCursor cursor(RandomStream(4, Purpose::kSketch, 1));
  for (int payload = 0; payload < 500; ++payload) {
    std::vector<int64_t> sum(8);
    for (int64_t& value : sum) value = static_cast<int64_t>(cursor.Bounded(1 << 20)) - (1 << 19);
    EXPECT_FALSE(CheckSum(sum, kSum, {}).ok());
  }
}

TEST(CheckSum, ThreeTimesTheMedianOfTheLastTwentyIsFlagged) {
  const std::vector<int64_t> sum = {2000, -2000, 1000, 0};                // 6 a client
  EXPECT_FALSE(CheckSum(sum, kSum, std::vector<double>{1, 1})->flagged);  // too short
  EXPECT_TRUE(CheckSum(sum, kSum, std::vector<double>{1, 1, 1})->flagged);
  EXPECT_FALSE(CheckSum(sum, kSum, std::vector<double>{2, 2, 2})->flagged);
  std::vector<double> history(30, 1.0);  // long ago
  history.insert(history.end(), 20, 2.0);
  EXPECT_FALSE(CheckSum(sum, kSum, history)->flagged);
  history.insert(history.end(), 11, 1.9);
  EXPECT_TRUE(CheckSum(sum, kSum, history)->flagged);
}

TEST(CheckSum, BoundsThatMakeNoSenseAreRefused) {
  for (double SumBounds::*const member : {&SumBounds::scale, &SumBounds::clip}) {
    SumBounds bounds = kSum;
    bounds.*member = std::numeric_limits<double>::quiet_NaN();
    EXPECT_EQ(CheckSum({}, bounds, {}).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(CheckSum({}, {}, {}).ok());
}

}  // namespace
}  // namespace rivulet
