#pragma once

#include "client/upload/update_encoder.h"

namespace rivulet {

// Rounding words by seed, round, client and attempt, so that a simulation can be repeated to the
// last bit. Not for agents, whose words are secret: client/ may not include this folder, and the
// agent's program has neither this code nor a setting that asks for it.
RoundingMaker SeededRounding();

}  // namespace rivulet
