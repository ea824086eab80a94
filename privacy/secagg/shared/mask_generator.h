#pragma once

#include <cstdint>
#include <span>

#include "privacy/crypto/secret.h"
#include "privacy/secagg/shared/ring.h"

namespace rivulet::secagg {

// The mask generator: AES-256 in counter mode, key = seed, 16-byte IV = u64be(chunk) || u64be(0),
// chunk = floor(j / 2^20). Element j is word (j mod 2^20) of its chunk's keystream, WordBytes(bits)
// bytes little endian, of which the low `bits` bits count. One seed serves one vector of one
// attempt, never two.
inline constexpr uint64_t kChunkElements = uint64_t{1} << 20;

struct Mask {
  Secret32 seed;
  bool subtract = false;
};

// Adds (or subtracts) every mask to the vector in one pass; no mask is ever held in memory. The
// result is reduced only by the readers of RingVector, or by Reduce().
//   threads  splits the vector, not the seeds: the result does not depend on it.
//   first    index of vector's element 0 in the whole vector, for callers that stream a long vector
//            in slices; a multiple of 8 (ends the process otherwise).
// Uses the widest kernel of this processor (AES-NI, VAES), OpenSSL's AES without one.
void ApplyMasks(RingVector& vector, std::span<const Mask> masks, unsigned threads = 1,
                uint64_t first = 0);

// Element j of the mask of `seed`: 0 .. 2^bits - 1. Slow: for tests and single elements.
uint64_t MaskElement(const Secret32& seed, uint64_t j, uint8_t bits);

// Sum over j < count of mask element j times vector element j, modulo 2^bits: a checksum row.
// count <= vector.size().
uint64_t MaskInnerProduct(const Secret32& seed, const RingVector& vector, size_t count);

}  // namespace rivulet::secagg
