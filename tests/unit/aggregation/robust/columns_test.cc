#include "aggregation/robust/columns.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "aggregation/robust/sorting_network.h"
#include "tests/unit/aggregation/robust/cohort.h"

namespace rivulet {
namespace {

std::vector<const float*> RowsOf(const Cohort::Rows& rows) {
  std::vector<const float*> pointers;
  for (const std::vector<float>& row : rows) pointers.push_back(row.data());
  return pointers;
}

// Nothing when a value is not finite.
std::vector<double> Reduced(const Cohort::Rows& rows, size_t drop, bool widest,
                            std::span<const float> factors = {}) {
  std::vector<double> out(rows[0].size(), -1);
  const std::vector<const float*> pointers = RowsOf(rows);
  const auto keep = [&](size_t first, std::span<const double> means) {
    std::copy(means.begin(), means.end(), out.begin() + static_cast<ptrdiff_t>(first));
  };
  if (!TrimmedMeans({pointers, factors, rows[0].size()}, drop, keep, widest)) out.clear();
  return out;
}

double ReferenceOf(const Cohort::Rows& rows, size_t column, size_t drop) {
  std::vector<float> values;
  for (const std::vector<float>& row : rows) values.push_back(row[column]);
  std::sort(values.begin(), values.end());
  double sum = 0;
  for (size_t rank = drop; rank < values.size() - drop; ++rank) sum += values[rank];
  return sum / static_cast<double>(values.size() - 2 * drop);
}

// The 0/1 principle (Knuth, 5.3.4, theorem Z): a network that sorts these sorts everything.
TEST(SortingNetwork, SortsAllZerosAndOnesUpToSixteen) {
  for (size_t count = 1; count <= 16; ++count) {
    std::vector<Comparator> network;
    MergeExchange(count, [&](size_t low, size_t high) { network.push_back({low, high}); });
    EXPECT_EQ(network.size(), ComparatorsFor(count));
    for (uint32_t word = 0; word < 1u << count; ++word) {
      uint32_t bits = word;
      for (const auto [low, high] : network) {
        ASSERT_LT(low, high);
        const uint32_t swap = (bits >> low & 1) & ~(bits >> high & 1);
        bits ^= swap << low | swap << high;
      }
      const uint32_t ones = static_cast<uint32_t>(std::popcount(word));
      ASSERT_EQ(bits, ((1u << ones) - 1) << (count - ones)) << count << " inputs, " << word;
    }
  }
}

TEST(SortingNetwork, OfSixteenHas63ComparatorsAndOf32Has191) {
  EXPECT_EQ(ComparatorsFor(16), 63u);  // Knuth, 5.3.4, table 1
  EXPECT_EQ(ComparatorsFor(32), 191u);
}

// Every rank of every 0/1 input, through the code that runs: what is kept with drop = k is the sum
// of the ranks k .. n-k-1, so all of them together fix the whole order.
TEST(TrimmedMeans, OfAllZerosAndOnesUpToSixteenAreThoseOfASort) {
  for (size_t n = 1; n <= 16; ++n) {
    const size_t count = size_t{1} << n;
    Cohort::Rows rows(n, std::vector<float>(count));
    for (size_t row = 0; row < n; ++row) {
      for (size_t at = 0; at < count; ++at) rows[row][at] = at >> row & 1;
    }
    for (size_t drop = 0; 2 * drop < n; ++drop) {
      const std::vector<double> got = Reduced(rows, drop, n % 2 == 0);
      for (size_t at = 0; at < count; ++at) {
        const int zeros = static_cast<int>(n) - std::popcount(static_cast<uint32_t>(at));
        const int begin = static_cast<int>(drop), end = static_cast<int>(n - drop);
        const int kept = std::clamp(end - std::max(begin, zeros), 0, end - begin);
        ASSERT_EQ(got[at], static_cast<double>(kept) / (end - begin)) << n << " " << drop;
      }
    }
  }
}

TEST(TrimmedMeans, OfRandomColumnsAreThoseOfASortToTheBit) {
  for (size_t n = 1; n <= 40; ++n) {
    for (const size_t count : {1, 7, 8, 9, 1023, 1024, 1025, 2048, 3001}) {
      const Cohort::Rows rows = GaussRows(n, count, 100 * n + count);
      for (const size_t drop : {size_t{0}, (n - 1) / 4, (n - 1) / 2}) {
        const std::vector<double> wide = Reduced(rows, drop, true);
        EXPECT_EQ(wide, Reduced(rows, drop, false));
        for (size_t at = 0; at < count; ++at) {
          ASSERT_EQ(wide[at], ReferenceOf(rows, at, drop)) << n << " " << count << " " << drop;
        }
      }
    }
  }
}

TEST(TrimmedMeans, FactorsMultiplyInSinglePrecision) {
  Cohort::Rows rows = GaussRows(13, 50, 3);
  std::vector<float> factors;
  for (size_t row = 0; row < rows.size(); ++row) factors.push_back(1.0f / (row + 1));
  const std::vector<double> got = Reduced(rows, 4, true, factors);
  for (size_t row = 0; row < rows.size(); ++row) {
    for (float& value : rows[row]) value *= factors[row];
  }
  EXPECT_EQ(got, Reduced(rows, 4, true));
}

TEST(TrimmedMeans, NothingButFiniteValuesGetsThrough) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
        std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    for (const size_t n : {1, 3, 16, 32, 40}) {
      for (const size_t column : {0, 8, 1023, 1024, 2047, 2048, 2050}) {
        Cohort::Rows rows = GaussRows(n, 2051, 4);
        rows[n / 2][column] = bad;
        EXPECT_TRUE(Reduced(rows, (n - 1) / 2, true).empty()) << n << " " << column;
        EXPECT_TRUE(Reduced(rows, (n - 1) / 2, false).empty()) << n << " " << column;
      }
    }
  }
}

TEST(TrimmedMeans, ZerosHaveNoSignAndExtremesNoOverflow) {
  constexpr float kMost = std::numeric_limits<float>::max();
  constexpr float kLeast = std::numeric_limits<float>::denorm_min();
  Cohort::Rows rows;
  for (const float value : {-0.0f, 0.0f, -0.0f, -0.0f}) rows.push_back({value, kMost, kLeast, 0});
  const std::vector<double> got = Reduced(rows, 1, true);
  EXPECT_FALSE(std::signbit(got[0]));
  EXPECT_EQ(got[1], kMost);
  EXPECT_EQ(got[2], kLeast);
}

}  // namespace
}  // namespace rivulet
