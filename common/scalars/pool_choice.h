#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/random.h"
#include "common/status.h"

namespace rivulet {

// How clients draw from a pool with scalars.pool-choice = "amplitude": direction j with a
// probability in proportion to e^(v_j), v_j the amplitude |sums[j]| of its movement so far, brought
// to 0 .. 1 by the smallest and the largest of the pool. So no direction is more than e times as
// likely as another, and all are alike while nothing has moved. Integers alone after v_j is rounded
// to 1/65536, hence the same on every machine (docs/formats/scalars.md). Immutable.
//
// Source: Qin et al. 2023, FedKSeed-Pro, whose amplitude of a seed is the mean of |coefficient|
// over all times that it was drawn; here that of its sum, which is what the log holds. As there, a
// coefficient is not divided by its probability: what is often drawn moves more.
class PoolChoice {
 public:
  // `sums`: of each direction's coefficients over all rounds, one at least. Errors: DataLoss for
  // one that is not finite.
  static absl::StatusOr<PoolChoice> Of(std::span<const float> sums);

  uint64_t Draw(RandomCursor& cursor) const;
  // Of direction j, in units of 1 / total().
  uint64_t Weight(size_t j) const { return ends_[j] - (j == 0 ? 0 : ends_[j - 1]); }
  uint64_t total() const { return ends_.back(); }

 private:
  PoolChoice() = default;

  std::vector<uint64_t> ends_;  // sums of the weights up to each one, ascending
};

}  // namespace rivulet
