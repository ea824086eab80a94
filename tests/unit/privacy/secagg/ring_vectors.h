#pragma once

#include <random>

#include "privacy/secagg/shared/ring.h"

namespace rivulet::secagg {

// Uniform elements of the ring.
inline RingVector RandomRing(std::mt19937_64& random, uint8_t bits, size_t size) {
  RingVector vector(bits, size);
  for (size_t index = 0; index < size; ++index) vector.Set(index, random());
  return vector;
}

}  // namespace rivulet::secagg
