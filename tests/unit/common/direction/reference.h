#pragma once

#include <cmath>
#include <cstdint>

#include "common/direction/direction.h"

// Directions one element at a time, as docs/formats/randomness.md writes them.

namespace rivulet::testing {

inline int SignAt(const RandomStream& stream, uint32_t tensor, uint64_t i) {
  return stream.Block(i >> 7, tensor).word[(i >> 5) & 3] >> (i & 31) & 1 ? -1 : 1;
}

inline float GaussAt(const RandomStream& stream, uint32_t tensor, uint64_t i) {
  float block[4];
  stream.FillGauss(tensor, block, i >> 2);
  return block[i & 3];
}

inline float ElementAt(const DirectionSettings& settings, uint64_t root, uint64_t index,
                       const TensorPart& part, int64_t i) {
  const RandomStream dense(root, Purpose::kDirection, index);
  if (settings.kind == DirectionKind::kRademacher) return SignAt(dense, part.tensor, i);
  if (settings.kind == DirectionKind::kGauss) return GaussAt(dense, part.tensor, i);
  const RandomStream left(root, Purpose::kLeftFactor, index);
  const RandomStream right(root, Purpose::kRightFactor, index);
  int sum = 0;
  for (int k = 0; k < settings.rank; ++k) {
    sum += SignAt(left, part.tensor, k * part.rows + i / part.columns) *
           SignAt(right, part.tensor, k * part.columns + i % part.columns);
  }
  return static_cast<float>(sum) *
         static_cast<float>(1 / std::sqrt(static_cast<double>(settings.rank)));
}

}  // namespace rivulet::testing
