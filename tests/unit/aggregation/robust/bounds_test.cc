#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "aggregation/robust/sum_bounds.h"
#include "aggregation/robust/update_bounds.h"
#include "tests/unit/aggregation/robust/cohort.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

const Manifest& TwoTensors() {
  static const auto* const manifest =
      new Manifest{{"a.lora_A.weight", DType::kF32, {2, 2}}, {"a.lora_B.weight", DType::kF32, {3}}};
  return *manifest;
}

absl::StatusOr<BoundedUpdate> Checked(const std::vector<float>& row, int64_t weight,
                                      const UpdateBounds& bounds) {
  return CheckUpdate(TwoTensors(), Cohort(TwoTensors(), {row}).view(row), weight, bounds);
}

UpdateBounds Bounds(double clip) { return {.norms = {clip, 0, 0}, .weight_cap = 100}; }

TEST(CheckUpdate, BelowTheBoundNothingHappens) {
  const auto got = Checked({1, 2, 2, 0, 4, 0, 0}, 100, Bounds(5));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->norms[NormBounds::kRest], 5);
  EXPECT_FALSE(got->clipped);
  EXPECT_FALSE(got->zero);
  EXPECT_EQ(got->factors, (std::array<double, 3>{1, 1, 1}));
}

TEST(CheckUpdate, AboveItIsClippedAndTenTimesAboveRefused) {
  const auto got = Checked({30, 0, 0, 0, 40, 0, 0}, 1, Bounds(5));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE(got->clipped);
  EXPECT_EQ(got->factors[NormBounds::kRest], 0.1);
  const absl::Status refused = Checked({30, 0, 0, 0, 40.1f, 0, 0}, 1, Bounds(5)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(refused.message(), HasSubstr("norm of update: got 50."));
  EXPECT_THAT(refused.message(), HasSubstr("want at most 50"));
  EXPECT_EQ(RemedyOf(refused), Remedy::kLeaveRun);
}

TEST(CheckUpdate, FactorsAreBoundedByThemselves) {
  const UpdateBounds bounds{.norms = {1, 3, 2}, .weight_cap = 1};
  const auto got = Checked({0, 6, 0, 0, 0, 0, 8}, 1, bounds);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->factors[NormBounds::kFactorA], 0.5);
  EXPECT_EQ(got->factors[NormBounds::kFactorB], 0.25);
  EXPECT_EQ(got->norms[NormBounds::kRest], 0);
  EXPECT_THAT(Checked({0, 0, 0, 0, 0, 0, 21}, 1, bounds).status().message(),
              HasSubstr("norm of lora_B: got 21"));
}

TEST(CheckUpdate, WithoutABoundAnyFiniteNormPasses) {
  EXPECT_TRUE(Checked(std::vector<float>(7, std::numeric_limits<float>::max()), 1, Bounds(0)).ok());
}

TEST(CheckUpdate, ZeroIsFlagged) {
  EXPECT_TRUE(Checked(std::vector<float>(7, -0.0f), 1, Bounds(1))->zero);
}

TEST(CheckUpdate, WeightsOutsideTheCapAreRefused) {
  for (const int64_t weight :
       {int64_t{0}, int64_t{-1}, int64_t{101}, std::numeric_limits<int64_t>::min(),
        std::numeric_limits<int64_t>::max()}) {
    const absl::Status status = Checked({1, 0, 0, 0, 0, 0, 0}, weight, Bounds(1)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(status.message(),
              "update: weight: got " + std::to_string(weight) + ", want 1 .. 100");
  }
}

TEST(CheckUpdate, ErrorsComeInTheOrderOfTheChecks) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> row = {kNan, 1e9f, 0, 0, 0, 0, 0};
  UpdateView view = Cohort(TwoTensors(), {row}).view(row);
  view[1] = view[1].first(2);
  const auto message = [&](const UpdateView& update) {
    return std::string(CheckUpdate(TwoTensors(), update, 0, Bounds(1)).status().message());
  };
  EXPECT_EQ(message(view), "update: a.lora_B.weight: got 2 values, want 3");
  const std::vector<float> huge = {1e9f, 0, 0, 0, 0, 0, 0};
  EXPECT_THAT(message(Cohort(TwoTensors(), {row}).view(row)),
              HasSubstr("a.lora_A.weight[0]: got nan"));
  EXPECT_THAT(message(Cohort(TwoTensors(), {huge}).view(huge)), HasSubstr("norm of update"));
  EXPECT_EQ(message({}), "update: got 0 tensors, want 2");
}

// 500 payloads of hostile values, made from a seed: bit patterns of every class of float at random
// places among ordinary ones. What is accepted is finite, and within C once scaled.
TEST(CheckUpdate, FiveHundredHostilePayloadsAreRefusedOrBounded) {
  RandomCursor cursor(RandomStream(9, Purpose::kSketch, 0));
  const auto hostile = [&]() -> float {
    const uint32_t word = cursor.Next();
    switch (cursor.Bounded(8)) {
      case 0:
        return std::bit_cast<float>(0x7FC00000u | (word & 0x803FFFFFu));  // quiet NaN
      case 1:
        return std::bit_cast<float>(0x7F800001u | (word & 0x803FFFFFu));  // signalling NaN
      case 2:
        return std::bit_cast<float>(0x7F800000u | (word & 0x80000000u));  // infinity
      case 3:
        return std::bit_cast<float>(word & 0x807FFFFFu);  // subnormal or 0
      case 4:
        return std::bit_cast<float>(0x7F7FFFFFu - (word & 0xFF));  // near the largest
      case 5:
        return std::bit_cast<float>(word);  // anything
      case 6:
        return static_cast<float>(static_cast<int32_t>(word));
      default:
        return static_cast<float>(word % 1000) * 0.01f;
    }
  };
  int accepted = 0;
  for (int payload = 0; payload < 500; ++payload) {
    std::vector<float> row(7);
    for (float& value : row) value = cursor.Bounded(3) == 0 ? hostile() : 0.01f;
    const auto weight = static_cast<int64_t>(cursor.Bounded(3)) * 60;
    const auto got = Checked(row, weight, Bounds(2));
    const bool finite =
        std::all_of(row.begin(), row.end(), [](float v) { return std::isfinite(v); });
    double square = 0;
    for (const float value : row) square += static_cast<double>(value) * value;
    const bool want = finite && std::sqrt(square) <= 20 && weight >= 1 && weight <= 100;
    ASSERT_EQ(got.ok(), want) << payload << got.status();
    if (!got.ok()) continue;
    ++accepted;
    EXPECT_LE(got->factors[NormBounds::kRest] * std::sqrt(square), 2 * (1 + 1e-15));
  }
  EXPECT_GT(accepted, 20);
}

TEST(FlushSubnormals, LeavesTheSignAndEverythingElse) {
  std::vector<float> values = {1e-40f, -1e-40f, 1.0f, std::numeric_limits<float>::min(), 0.0f};
  EXPECT_EQ(FlushSubnormals(values), 2u);
  EXPECT_EQ(values, (std::vector<float>{0, 0, 1, std::numeric_limits<float>::min(), 0}));
  EXPECT_TRUE(std::signbit(values[1]));
}

TEST(IdenticalUpdates, AreFoundBitByBit) {
  Cohort cohort({{1, 2, 3}, {1, 2, 3.5}, {1, 2, 3}, {0, 0, 0}, {1, 2, 3}, {-0.0f, 0, 0}});
  const auto pairs = IdenticalUpdates(cohort.views());
  EXPECT_EQ(pairs, (std::vector<std::pair<uint32_t, uint32_t>>{{0, 2}, {0, 4}}));
}

// The digest that finds candidates is blind to values that change places.
TEST(IdenticalUpdates, AreNotThoseOfEqualDigest) {
  EXPECT_TRUE(IdenticalUpdates(Cohort({{1, 2}, {2, 1}}).views()).empty());
}

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
