#include "common/suggest.h"

#include <algorithm>

namespace rivulet {
namespace {

int EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::vector<int>> cost(a.size() + 1, std::vector<int>(b.size() + 1));
  for (size_t row = 0; row <= a.size(); ++row) cost[row][0] = static_cast<int>(row);
  for (size_t column = 0; column <= b.size(); ++column) cost[0][column] = static_cast<int>(column);
  for (size_t row = 1; row <= a.size(); ++row) {
    for (size_t column = 1; column <= b.size(); ++column) {
      const int differs = a[row - 1] != b[column - 1];
      int best = std::min({cost[row - 1][column] + 1, cost[row][column - 1] + 1,
                           cost[row - 1][column - 1] + differs});
      const bool swapped =
          row > 1 && column > 1 && a[row - 1] == b[column - 2] && a[row - 2] == b[column - 1];
      if (swapped) best = std::min(best, cost[row - 2][column - 2] + 1);
      cost[row][column] = best;
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string Nearest(std::string_view name, const std::vector<std::string>& candidates,
                    int max_distance) {
  constexpr size_t kLongest = 200;  // names are short; what a peer sends may not be
  if (name.size() > kLongest) return "";
  std::string nearest;
  int best = max_distance + 1;
  for (const std::string& candidate : candidates) {
    const int distance = EditDistance(name, candidate);
    if (distance >= best) continue;
    best = distance;
    nearest = candidate;
  }
  return nearest;
}

std::string DidYouMean(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string nearest = Nearest(name, candidates);
  return nearest.empty() ? "" : "; did you mean '" + nearest + "'?";
}

}  // namespace rivulet
