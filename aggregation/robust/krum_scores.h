#pragma once

#include <cstdint>
#include <vector>

#include "aggregation/robust/distances.h"
#include "aggregation/robust/rule_base.h"

namespace rivulet {

// Krum's scores of a round from which updates are taken out one by one. Not thread safe.
class KrumScores {
 public:
  KrumScores(const DistanceTable& distances, size_t f);

  // The sum of the squared distances of `update` to the nearest of those that are left: r - f - 2
  // of them, r counting itself; never fewer than one while there is another.
  double Of(size_t update) const;
  // The one with the smallest score; ties go to the lower index. Needs one that is left.
  uint32_t Best() const;
  void TakeOut(uint32_t update);
  bool left(size_t update) const { return left_[update]; }

 private:
  const DistanceTable& distances_;
  size_t f_;
  size_t count_;  // that are left
  std::vector<bool> left_;
  std::vector<std::vector<uint32_t>> nearest_;  // of each: the others, by distance
};

// The distances a rule's settings ask for.
absl::StatusOr<DistanceTable> DistancesFor(const RobustSettings& settings,
                                           const UpdateBatch& batch);

// krum and multi-krum: the mean of the `count` best. Errors: as RobustRule::Aggregate.
absl::StatusOr<RobustResult> MeanOfBest(const RobustSettings& settings, const UpdateBatch& batch,
                                        size_t count);

}  // namespace rivulet
