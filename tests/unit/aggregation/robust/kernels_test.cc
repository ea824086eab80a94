#include "aggregation/robust/kernels.h"

#include <gtest/gtest.h>

#include "tests/unit/aggregation/robust/cohort.h"

namespace rivulet {
namespace {

constexpr size_t kCounts[] = {0, 1, 3, 4, 15, 16, 17, 63, 100, 511, 512};

// Sums of a few hundred products in binary64: within 1e-13 of the long double ones.
TEST(RobustKernels, SumsAreRightAndTheSameWithAndWithoutAvx2) {
  for (const size_t count : kCounts) {
    const Cohort::Rows rows = GaussRows(2, count, count);
    std::vector<double> centre(count);
    long double norm = 0, dot = 0, difference = 0, distance = 0;
    for (size_t at = 0; at < count; ++at) {
      const long double x = rows[0][at], y = rows[1][at];
      centre[at] = 0.3 * rows[1][at];
      norm += x * x;
      dot += x * y;
      difference += (0.5L * x - 0.25L * y) * (0.5L * x - 0.25L * y);
      distance += (0.5L * x - centre[at]) * (0.5L * x - centre[at]);
    }
    const double tolerance = 1e-13 * static_cast<double>(count + 1);
    EXPECT_NEAR(SquaredNorm(rows[0]), norm, tolerance);
    EXPECT_NEAR(DotOf(rows[0], rows[1].data()), dot, tolerance);
    EXPECT_NEAR(SquaredDifference(rows[0], 0.5, rows[1].data(), 0.25), difference, tolerance);
    EXPECT_NEAR(SquaredDistance(rows[0], 0.5, centre.data()), distance, tolerance);
    EXPECT_EQ(SquaredNorm(rows[0]), SquaredNorm(rows[0], false));
    EXPECT_EQ(DotOf(rows[0], rows[1].data()), DotOf(rows[0], rows[1].data(), false));
    EXPECT_EQ(SquaredDifference(rows[0], 0.5, rows[1].data(), 0.25),
              SquaredDifference(rows[0], 0.5, rows[1].data(), 0.25, false));
    EXPECT_EQ(SquaredDistance(rows[0], 0.5, centre.data()),
              SquaredDistance(rows[0], 0.5, centre.data(), false));
  }
}

TEST(RobustKernels, GramIsRightForEverySizeOfItsTiles) {
  for (size_t n = 1; n <= 13; ++n) {
    for (const size_t count : kCounts) {
      const Cohort::Rows rows = GaussRows(n, count, 31 * n + count);
      std::vector<const float*> pointers;
      for (const std::vector<float>& row : rows) pointers.push_back(row.data());
      std::vector<double> scratch(n * kGramStride);
      std::vector<double> wide(n * n), narrow(n * n);
      AddGram(pointers, count, scratch.data(), wide.data());
      AddGram(pointers, count, scratch.data(), narrow.data(), false);
      EXPECT_EQ(wide, narrow);
      for (size_t i = 0; i < n; ++i) {
        for (size_t j = i; j < n; ++j) {
          long double want = 0;
          for (size_t at = 0; at < count; ++at)
            want += static_cast<long double>(rows[i][at]) * rows[j][at];
          ASSERT_NEAR(wide[i * n + j], want, 1e-13 * static_cast<double>(count + 1));
        }
      }
    }
  }
}

TEST(RobustKernels, WeightedRowsAreAddedInOrder) {
  for (size_t n = 1; n <= 9; ++n) {
    const Cohort::Rows rows = GaussRows(n, 37, n);
    std::vector<const float*> pointers;
    std::vector<double> weights;
    for (size_t row = 0; row < n; ++row) {
      pointers.push_back(rows[row].data());
      weights.push_back(0.1 * static_cast<double>(row + 1));
    }
    std::vector<double> want(37, 0.5), wide = want, narrow = want;
    for (size_t row = 0; row < n; ++row) {
      for (size_t at = 0; at < 37; ++at) want[at] += weights[row] * rows[row][at];
    }
    AddWeightedRows(pointers, weights, 37, wide.data());
    AddWeightedRows(pointers, weights, 37, narrow.data(), false);
    EXPECT_EQ(wide, want);
    EXPECT_EQ(narrow, want);
  }
}

}  // namespace
}  // namespace rivulet
