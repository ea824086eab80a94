#pragma once

#include <cstdint>
#include <span>

namespace rivulet {

// The largest |x| as the bits of a float: bits of magnitudes order as the magnitudes do, with
// infinity above every finite number and NaN above infinity. 0 for an empty span.
uint32_t LargestMagnitudeBits(std::span<const float> values);

// words[i] += weight * values[i] * 2^24, rounded to the nearest integer, ties to even, exactly.
//   words      at least as many as values
//   weight     |weight| < 2^31; -w takes back what w added
//   magnitude  LargestMagnitudeBits(values), below the bits of 128.0f
void AddRounded(std::span<const float> values, int64_t weight, uint32_t magnitude, int64_t* words);

// One value of the above, in integers alone.
int64_t RoundedProduct(float value, int64_t weight);

}  // namespace rivulet
