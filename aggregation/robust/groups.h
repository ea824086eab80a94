#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace rivulet {

// Masked uploads show sums only. So the cohort is cut at random into groups, each masked by itself,
// and a robust rule works on the means of the groups. Small groups stand more liars, large ones
// hide a client better: a plan has to satisfy both.

// 32 bytes that nobody could choose: derived from nonces all clients had committed to.
using GroupKey = std::span<const uint8_t, 32>;

// Members 0 .. n-1 in `groups` random groups, ascending within each. Sizes differ by at most one,
// the larger ones first. Draws: Fisher-Yates from the top over the 64-bit little-endian words of
// SHA-256("rivulet/groups" | key | block as u64 LE), block = 0, 1, ..; a word x >= 2^64 - (2^64 mod
// m) is drawn again, else x mod m. Position p of the permutation goes to the group that owns it.
// Errors: InvalidArgument when `groups` is not 1 .. n.
absl::StatusOr<std::vector<std::vector<uint32_t>>> PartitionIntoGroups(uint32_t n, uint32_t groups,
                                                                       GroupKey key);

// The probability that at least `spoiled` of the floor(n/g) groups contain one of the `f` bad among
// n clients. Exact up to rounding: the bad ones take free places one by one.
// Errors: InvalidArgument unless 1 <= g <= n and f <= n.
absl::StatusOr<double> SpoiledAtLeast(uint32_t n, uint32_t g, uint32_t f, uint32_t spoiled);

// The smallest c such that a random group of `g` out of n clients, f of them corrupt, has at most c
// corrupt ones with probability >= 1 - 2^-40 (hypergeometric). Only +, -, *, / in a fixed order:
// the same on every machine. Errors: as SpoiledAtLeast.
absl::StatusOr<uint32_t> CorruptInGroup(uint32_t n, uint32_t g, uint32_t f);

struct GroupRequest {
  uint32_t n = 0;      // cohort
  uint32_t g = 0;      // the least size of a group
  uint32_t f_max = 0;  // bad clients to withstand, in the whole cohort
  uint32_t h_min = 1;  // honest clients any sum that is revealed must contain
  // The least number of members whose sum a group reveals: its masking threshold, or a higher
  // bound on survivors. 0 = all g (no drop-outs).
  uint32_t threshold = 0;
  std::string_view rule = "median";  // over the group means; its breakdown sets how many are needed
  // What the operator accepts as the probability of a round with too many spoiled groups; 0 = none.
  double accepted_failure = 0;
};

struct GroupPlan {
  uint32_t groups = 0;    // m = floor(n/g)
  uint32_t largest = 0;   // size of the largest group
  uint32_t f_groups = 0;  // spoiled groups the rule withstands: the f of its settings
  uint32_t corrupt = 0;   // c_g, of CorruptInGroup for the largest group
  uint32_t h = 0;         // threshold - c_g
  double failure = 0;     // probability of more than f_groups spoiled ones; 0 when impossible
};

// Whether the pair (f_max, h_min) can be had.
// Errors: FailedPrecondition naming both numbers, what was got for each, and what is wanted:
// f_max needs m >= 2 f_max + 1 groups (median, trimmed-mean, geometric-median, centred-clipping),
// 2 f_max + 3 (krum, multi-krum) or 4 f_max + 3 (bulyan), unless `accepted_failure` allows for
// less; h_min needs h >= h_min. InvalidArgument for a request that makes no sense, or a rule that
// has no breakdown point.
absl::StatusOr<GroupPlan> CheckGroupPlan(const GroupRequest& request);
inline absl::StatusOr<GroupPlan> CheckGroupPlan(uint32_t n, uint32_t g, uint32_t f_max,
                                                uint32_t h_min) {
  return CheckGroupPlan({.n = n, .g = g, .f_max = f_max, .h_min = h_min});
}

}  // namespace rivulet
