#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace rivulet {

// The chance that one of `ones` is above one of `zeros`, ties count half (Mann and Whitney 1947).
inline double AreaUnderCurve(const std::vector<double>& zeros, const std::vector<double>& ones) {
  std::vector<std::pair<double, int>> all;
  for (const double each : zeros) all.emplace_back(each, 0);
  for (const double each : ones) all.emplace_back(each, 1);
  std::sort(all.begin(), all.end());
  double below = 0, area = 0;
  for (size_t at = 0; at < all.size();) {
    size_t end = at;
    double tied[2] = {};
    while (end < all.size() && all[end].first == all[at].first) ++tied[all[end++].second];
    area += tied[1] * (below + tied[0] / 2);
    below += tied[0];
    at = end;
  }
  return area / (static_cast<double>(zeros.size()) * static_cast<double>(ones.size()));
}

// Its standard deviation around 1/2 where the scores say nothing, ties apart.
inline double AreaDeviation(size_t zeros, size_t ones) {
  const auto n0 = static_cast<double>(zeros), n1 = static_cast<double>(ones);
  return std::sqrt((n0 + n1 + 1) / (12 * n0 * n1));
}

}  // namespace rivulet
