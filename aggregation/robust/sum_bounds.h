#pragma once

#include <cstdint>
#include <span>

#include "common/status.h"

namespace rivulet {

// What the sum of masked uploads may be. Single updates are not seen: clients clip and clamp
// themselves, and a liar among them can move the sum up to these bounds.
struct SumBounds {
  int64_t survivors = 0;        // |U3|, whose uploads are in the sum; >= 1
  int64_t weight_cap = 1;       // W; >= 1
  int64_t level_limit = 0;      // L: an honest client clamps each of its integers to [-L, L]; >= 1
  double scale = 0;             // s: integers for 1 of an update's value; > 0
  double clip = 0;              // C: an honest client's norm before scaling is at most that; > 0
  double noise_coordinate = 0;  // what noise may add to a coordinate of the sum, and
  double noise_norm = 0;        // to its norm; integers' units, >= 0
};

struct SumVerdict {
  double norm = 0;          // ||z||, in integers' units
  double norm_of_mean = 0;  // ||z|| / (|U3| s): what goes into the history
  bool flagged = false;     // it is above 3 times the median of the last 20 rounds
};

inline constexpr size_t kSumHistory = 20;
inline constexpr double kSumHistoryRatio = 3;

// `sum`: the unmasked coordinates, centred (two's complement, not reduced).
// `history`: norm_of_mean of the rounds before, oldest first. Honest sums are far below |U3| s C
// because directions differ, so the history is the sharper bound; a flag needs 3 rounds of it.
// Rounding to integers may add up to 1 to each coordinate of each upload and is allowed for.
// Errors: OutOfRange naming the coordinate, its value and |U3| W L (+ noise), or the norm and
// |U3| W (s C + sqrt(d)) (+ noise); InvalidArgument for bounds that make no sense.
absl::StatusOr<SumVerdict> CheckSum(std::span<const int64_t> sum, const SumBounds& bounds,
                                    std::span<const double> history);

}  // namespace rivulet
