#pragma once

#include <cstddef>
#include <span>

namespace rivulet {

// A stretch of all updates, n >= 1 of them: what a rule sees that decides coordinate by coordinate.
struct Columns {
  std::span<const float* const> rows;  // of `count` values each
  // The value of row i is the binary32 product rows[i][c] * factors[i]; empty = unscaled.
  std::span<const float> factors;
  size_t count = 0;  // <= kMostColumns
};

inline constexpr size_t kMostColumns = 1024;
// Vectorised sorting networks do up to so many rows; above, each column is sorted by itself.
inline constexpr size_t kMostNetworkRows = 32;

// out[c] = the mean of the values of column c without the `drop` lowest and highest, 2 drop < n; a
// median when drop = floor((n - 1) / 2): the mean of the two middle values when n is even. Values
// are summed from the smallest to the largest in binary64; never -0. Returns false when a value is
// NaN or infinite; `out` is then untouched. `widest` false keeps to the baseline's instructions,
// for tests: the bits are the same.
bool TrimmedMeans(const Columns& columns, size_t drop, double* out, bool widest = true);

}  // namespace rivulet
