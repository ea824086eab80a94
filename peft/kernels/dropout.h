#pragma once

#include <cstdint>

#include "common/random.h"

namespace rivulet::kernels {

// A mask by its address: element i is dropped when word i & 3 of block i >> 2 of (stream, tensor),
// shifted right by 8, is below rate * 2^24.
struct DropoutMask {
  PhiloxKey key;
  uint32_t lane;
  uint32_t tensor;
  uint32_t threshold;  // of 24 bits; below it an element is dropped
  float factor;        // on the others: 1 / (1 - rate)
};
// 0 <= rate < 1.
DropoutMask DropoutMaskOf(const RandomStream& stream, uint32_t tensor, double rate);

// y = x * keep / (1 - rate) for elements first .. first + n - 1 of the mask; first is a multiple
// of 4. Applying it to a gradient is its own backward pass: the mask is addressed, never stored. y
// may be x; [n] each.
void Dropout(const DropoutMask& mask, int64_t first, const float* x, float* y, int64_t n);

}  // namespace rivulet::kernels
