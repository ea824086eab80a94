#pragma once

#include <cstdint>
#include <span>

#include "common/status.h"
#include "privacy/dp/noise_seed.h"

namespace rivulet {

// The square of what one unit can move all nodes of a binary tree over `steps` rounds by, in units
// of one contribution: the maximum over allowed patterns of the sum over complete nodes of
// (participations in the node)^2. At most `max_participation` of them, with at least
// `min_separation` rounds strictly between two. Exact; where that would take longer than a second,
// an upper bound (every level filled as densely as it goes).
// Errors: InvalidArgument unless 1 <= steps <= 10^9, max_participation >= 1, min_separation >= 0.
// Source: Kairouz et al. 2021 (DP-FTRL); counting as TF-Privacy's tree accountant.
absl::StatusOr<double> TreeSensitivitySquared(int64_t steps, int64_t max_participation,
                                              int64_t min_separation);
double TreeSensitivityBound(int64_t steps, int64_t max_participation, int64_t min_separation);

// The noise of prefix sums: every complete node of the tree has discrete Gaussian noise, made anew
// from the seed whenever it is needed; the sum of the first t rounds gets that of the nodes it is
// made of, at most log2(t) + 1. The seed lives as long as the run.
class TreeNoise {
 public:
  // variance: of a node, on the integer grid. `seed` must outlive this object.
  // Errors: those of DiscreteGaussian::Make.
  static absl::StatusOr<TreeNoise> Make(const NoiseSeed& seed, uint64_t variance);

  // out[i] += noise of coordinate first + i in the sum of rounds 1..rounds. first: a multiple of
  // kNoiseBlock. rounds = 0 adds nothing.
  // Errors: InvalidArgument for a negative round or an odd first; OutOfRange when a sum leaves
  // int64.
  absl::Status AddToPrefix(int64_t rounds, int64_t first, std::span<int64_t> out) const;
  // The difference of the prefixes of `round` and `round - 1`: what round `round` >= 1 adds.
  absl::Status AddToRound(int64_t round, int64_t first, std::span<int64_t> out) const;

 private:
  TreeNoise(const NoiseSeed& seed, uint64_t variance) : seed_(&seed), variance_(variance) {}
  absl::Status AddNode(int level, int64_t index, int sign, int64_t first,
                       std::span<int64_t> out) const;
  const NoiseSeed* seed_;
  uint64_t variance_;
};

}  // namespace rivulet
