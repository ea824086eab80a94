#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace rivulet {

// The largest |x| as the bits of a float: bits of magnitudes order as the magnitudes do, with
// infinity above every finite number and NaN above infinity. 0 for an empty span.
uint32_t LargestMagnitudeBits(std::span<const float> values);

// What one pass over values finds.
struct ValueScan {
  uint32_t largest = 0;      // LargestMagnitudeBits
  uint64_t sum_of_bits = 0;  // of the values as 32-bit numbers
};
ValueScan ScanValues(std::span<const float> values);

// words[i] += weight * values[i] * 2^24, rounded to the nearest integer, ties to even, exactly.
//   words      at least as many as values
//   weight     |weight| < 2^31; -w takes back what w added
//   magnitude  LargestMagnitudeBits(values), below the bits of 128.0f
void AddRounded(std::span<const float> values, int64_t weight, uint32_t magnitude, int64_t* words);

// One update of several that are added in the same pass.
struct ScaledValues {
  const float* values;
  double factor;  // weight * 2^24
};
inline constexpr size_t kMostTogether = 4;

// Whether doubles round weight * value * 2^24 as AddRounded says for every value up to `magnitude`
// (LargestMagnitudeBits): the product needs at most 53 bits and is below 2^51. Any value below 128
// with weights to 2^20, any below 1 with weights to 2^27.
bool FitsDoubles(int64_t weight, uint32_t magnitude);

// words[i] += the rounded products of all `updates` (1 .. kMostTogether), each of `count` values,
// in one pass over memory. Returns the largest magnitude seen, as LargestMagnitudeBits. Unless
// FitsDoubles of it and the largest weight the words hold rubbish, and SubtractTogether with the
// same arguments restores them to the bit.
uint32_t AddTogether(std::span<const ScaledValues> updates, size_t count, int64_t* words);
void SubtractTogether(std::span<const ScaledValues> updates, size_t count, int64_t* words);

// One value of AddRounded, in integers alone.
int64_t RoundedProduct(float value, int64_t weight);

}  // namespace rivulet
