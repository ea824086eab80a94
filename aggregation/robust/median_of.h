#pragma once

#include <algorithm>
#include <span>
#include <vector>

namespace rivulet {

// The median of at least one number; the mean of the two middle ones when their count is even.
inline double MedianOf(std::span<const double> numbers) {
  std::vector<double> sorted(numbers.begin(), numbers.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// The last `count` of them.
inline std::span<const double> LastOf(std::span<const double> numbers, size_t count) {
  return numbers.last(std::min(count, numbers.size()));
}

}  // namespace rivulet
