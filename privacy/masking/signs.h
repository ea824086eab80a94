#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "aggregation/codec/rounding.h"

namespace rivulet {

// One bit for each number of a rotated update, with one scale that all clients share: what DRIVE
// (Vargaftik et al. 2021) sends, but for the scale of each client, which does not add up under a
// mask. Numbers that were rotated together are nearly normal. A client adds normal noise to each
// block of them until its deviation is that of an update as long as the range, range / sqrt(size),
// and sends the sign: sign times SignStep is then, in the mean over rotations and noise, the number
// itself, and sums of signs are sums of updates. The squared error of one client is
// pi/2 range^2 - norm^2: 0.57 of an update as long as the range. Errors of updates that are alike
// are alike where little noise is added: cohorts divide them by less than their number.
// Biased: a block whose norm is above its part of the range, range / sqrt(blocks), comes out as
// long as that; and one of which a single number is nearly all is not normal (up to sqrt(pi/2)).

// What a sign counts: sqrt(pi/2) range / sqrt(size). `range`: L2 norm of an update, at most.
double SignStep(double range, size_t size);

// out[i] = 1 with the probability that rotated[i] + noise is positive, else 0: one word of
// `rounding` for each value, in order. `block`: numbers that were rotated together, > 0 and a
// divisor of their number. `step`: SignStep, > 0. Sizes equal.
void DrawSigns(std::span<const float> rotated, size_t block, double step, RoundingSource& rounding,
               std::span<int64_t> out);

}  // namespace rivulet
