#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace rivulet {

// What a simulated client would have sent next when it vanished.
enum class DropPoint { kKeys, kShares, kUpdate, kEndorsement, kUnmask };

// Whether a client vanishes from an attempt, with chance `rate`, and where: before its update, or
// where updates are masked at each of the points with the same chance. Those that vanish after
// their update still count. (A coordinator that only reads asks for no endorsement: who would
// vanish there stays.) Drawn from seed, round, client and attempt.
std::optional<DropPoint> DropPointOf(double rate, bool masked, uint64_t seed, uint64_t round,
                                     const std::string& client, uint32_t attempt);

}  // namespace rivulet
