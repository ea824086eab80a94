#pragma once

#include <cstddef>
#include <functional>
#include <span>

namespace rivulet {

// A stretch of one tensor of all updates, n >= 1 of them: what a rule sees that decides coordinate
// by coordinate.
struct Columns {
  std::span<const float* const> rows;  // of `count` values each
  // The value of row i is the binary32 product rows[i][c] * factors[i]; empty = unscaled.
  std::span<const float> factors;
  size_t count = 0;
};

// Vectorised sorting networks do up to so many rows; above, each column is sorted by itself.
inline constexpr size_t kMostNetworkRows = 32;

// The mean of the values of each column without the `drop` lowest and highest, 2 drop < n; a median
// when drop = floor((n - 1) / 2): the mean of the two middle values when n is even. Values are
// summed from the smallest to the largest in binary64; never -0. Calls sink(first, means) for
// columns first, first + 1, .. of up to kPanelColumns, in order. Returns false when a value is NaN
// or infinite; what was given to the sink is then rubbish. `widest` false keeps to the baseline's
// instructions, for tests: the bits are the same.
inline constexpr size_t kPanelColumns = 1024;
using ColumnSink = std::function<void(size_t first, std::span<const double> means)>;
bool TrimmedMeans(const Columns& columns, size_t drop, const ColumnSink& sink, bool widest = true);

}  // namespace rivulet
