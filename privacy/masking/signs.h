#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "aggregation/codec/rounding.h"

namespace rivulet {

// One bit for each number of a rotated update, with one scale that all clients share: what DRIVE
// (Vargaftik et al. 2021) sends, but for the scale of each client, which does not add up under a
// mask. Numbers of a rotated vector of L2 norm n are nearly normal, of deviation n / sqrt(size). A
// client whose update is shorter than the range adds normal noise until deviations are those of the
// range, and sends the sign: sign times SignStep is then, in the mean over rotations and noise, the
// number itself, and sums of signs are sums of updates. The squared error of one client is
// pi/2 range^2 - norm^2: 0.57 of an update as long as the range. A rotated update of which one
// number is nearly all is not normal: it comes out by up to a quarter too long.

// What a sign counts: sqrt(pi/2) range / sqrt(size). `range`: L2 norm of an update, at most.
double SignStep(double range, size_t size);

// The noise's deviation for an update of that norm; 0 where it fills the range.
double SignNoise(double norm, double range, size_t size);

// out[i] = 1 with the probability that rotated[i] + noise is positive, else 0: one word of
// `rounding` for each value, in order. Sizes equal.
void DrawSigns(std::span<const float> rotated, double noise, RoundingSource& rounding,
               std::span<int64_t> out);

}  // namespace rivulet
