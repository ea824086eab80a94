#pragma once

#include "common/direction/direction.h"

namespace rivulet {

// z[i, j] = U[i, j] r[i] s[j] over a matrix of m x n, all of them signs: U of
// Purpose::kBaseTensor, which directions with the same index / renewal share, r and s of
// Purpose::kSignPairs at twice the index and one more, the direction's own. A network's answers to
// several such directions follow from one matrix U whose inputs and outputs change signs (Flipout);
// none of that is done here. Source: GRZO (2606.02857).
class FlippedDirection : public Direction {
 public:
  // The settings are of kind kFlipped.
  FlippedDirection(const DirectionSettings& settings, uint64_t root, uint64_t index);

  void Fill(const TensorPart& part, std::span<float> out) const override;

 private:
  const RandomStream base_, rows_, columns_;
};

}  // namespace rivulet
