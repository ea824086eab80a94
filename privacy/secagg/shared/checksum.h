#pragma once

#include "common/status.h"
#include "privacy/crypto/secret.h"
#include "privacy/secagg/shared/ring.h"

namespace rivulet::secagg {

// Fills in the last kChecksums elements: element i of them is sum_j r_ij a_j mod 2^b over every j
// before them, r_i the mask generator of ChecksumStream(i). Linear: the sum of such vectors
// satisfies the same equations. The vector has at least kChecksums elements.
void FillChecksums(const Bytes32& sid0, const Bytes32& sid, RingVector& vector);

// Reason CHECKSUM when an equation does not hold.
absl::Status CheckChecksums(const Bytes32& sid0, const Bytes32& sid, const RingVector& vector);

}  // namespace rivulet::secagg
