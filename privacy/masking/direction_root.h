#pragma once

#include <cstdint>

#include "privacy/crypto/secret.h"

namespace rivulet {

// The root of a round's directions with scalars.drawn-from = "session": the first 8 bytes,
// little-endian, of the session's public stream "rvl1/zo". `sid` is a hash over fresh keys of all
// members; whoever wants to know it needs a session's accepted roster. Source: the protocol's
// document, section 3.
uint64_t DirectionRootOf(const Bytes32& sid0, const Bytes32& sid);

}  // namespace rivulet
