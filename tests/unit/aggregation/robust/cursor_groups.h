#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "common/random.h"

namespace rivulet {

// `groups` random groups of 0 .. n-1 as PartitionIntoGroups has them, drawn from a cursor: for
// experiments that repeat by their seed.
inline std::vector<std::vector<uint32_t>> GroupsFrom(RandomCursor& cursor, uint32_t n,
                                                     uint32_t groups) {
  std::vector<uint32_t> members(n);
  std::iota(members.begin(), members.end(), 0);
  for (uint32_t left = n; left > 1; --left) {
    std::swap(members[left - 1], members[cursor.Bounded(left)]);
  }
  std::vector<std::vector<uint32_t>> partition;
  auto from = members.begin();
  for (uint32_t group = 0; group < groups; ++group) {
    const auto to = from + n / groups + (group < n % groups ? 1 : 0);
    std::sort(from, to);
    partition.emplace_back(from, to);
    from = to;
  }
  return partition;
}

}  // namespace rivulet
