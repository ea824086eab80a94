#pragma once

#include "client/upload/update_encoder.h"

namespace rivulet {

// Rounding words by seed, round, client and attempt, so that a simulation can be repeated to the
// last bit. An agent's own words are secret (client/upload/secret_rounding.h).
RoundingMaker SeededRounding();

}  // namespace rivulet
