#pragma once

#include <cstring>

#include "privacy/secagg/shared/mask_kernel.h"

namespace rivulet::secagg {

// What a seed gives when somebody folds it to 64 bits or fewer for a smaller generator.
inline Secret32 FoldedSeed(uint64_t seed) {
  Bytes32 bytes{};
  std::memcpy(bytes.data(), &seed, sizeof seed);
  return Secret32(bytes);
}

inline RingVector MaskOfSeed(const Secret32& seed) {
  RingVector vector(32, 16);
  const Mask mask{.seed = seed};
  ApplyMasks(vector, {&mask, 1});
  return vector;
}

// Whoever knows one vector of a client knows its mask: searches the seed among 2^bits folded ones,
// as was done in minutes against a 32-bit seed. Needs AES instructions.
inline bool FindsSeed(const RingVector& mask, int bits) {
  const TileKernel kernel = TileKernelFor(BestMaskKernel());
  alignas(64) uint8_t tile[kLargestTile];
  RoundKeys keys;
  for (uint64_t seed = 0; seed < uint64_t{1} << bits; ++seed) {
    std::memset(tile, 0, 16);
    ExpandRoundKeys({.seed = FoldedSeed(seed)}, keys);
    kernel.loop({&keys, 1, 0}, {0, 0, mask.word_bytes(), tile, 1});
    if (std::memcmp(tile, mask.raw().data(), 16) == 0) return true;
  }
  return false;
}

}  // namespace rivulet::secagg
