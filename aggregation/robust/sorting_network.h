#pragma once

#include <array>
#include <cstddef>

#include "aggregation/robust/simd.h"

namespace rivulet {

// One step of a sorting network: afterwards the smaller of the two is at `low`.
struct Comparator {
  size_t low = 0;
  size_t high = 0;
};

// Calls visit(low, high) for every comparator of Batcher's merge exchange for `count` values, in
// order. Source: Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M.
template <typename Visit>
constexpr void MergeExchange(size_t count, const Visit& visit) {
  size_t top = 1;
  while (top * 2 < count) top *= 2;
  for (size_t p = count < 2 ? 0 : top; p > 0; p /= 2) {
    size_t q = top;
    size_t r = 0;
    size_t d = p;
    while (true) {
      for (size_t low = 0; low + d < count; ++low) {
        if ((low & p) == r) visit(low, low + d);
      }
      if (q == p) break;
      d = q - p;
      q /= 2;
      r = p;
    }
  }
}

constexpr size_t ComparatorsFor(size_t count) {
  size_t comparators = 0;
  MergeExchange(count, [&](size_t, size_t) { ++comparators; });
  return comparators;
}

template <size_t kCount>
constexpr auto NetworkFor() {
  std::array<Comparator, ComparatorsFor(kCount)> network{};
  size_t at = 0;
  MergeExchange(kCount, [&](size_t low, size_t high) { network[at++] = {low, high}; });
  return network;
}

// Sorts the kCount vectors of `rows` lane by lane; no NaN. Unrolled, so that the rows can live in
// registers and that nothing is computed of what is not read later: a median costs less than a
// sort. Of -0 and +0 it may return the same one twice.
template <typename Floats, size_t kCount>
RV_INLINE void SortLanes(Floats (&rows)[kCount]) {
  static constexpr auto kNetwork = NetworkFor<kCount>();
#pragma GCC unroll 256
  for (size_t step = 0; step < kNetwork.size(); ++step) {
    Floats& at_low = rows[kNetwork[step].low];
    Floats& at_high = rows[kNetwork[step].high];
    const Floats low = at_low;
    const Floats high = at_high;
    at_low = low < high ? low : high;  // one instruction each, in just this form
    at_high = low > high ? low : high;
  }
}

}  // namespace rivulet
