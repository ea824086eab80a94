#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace rivulet {

// Tells whether two readings of one update gave the same values, for a fraction of what SHA-256
// costs: the sum over all values of their bits times 2 * (position / 1024) + 1, modulo 2^64. Any
// order and any cut of the values gives the same digest, so that stretches can be read side by
// side.
//
// Finds what disks and memory do by accident: one changed value for certain; zeroed, stale or
// exchanged pages and other rubbish but for about one case in 2^32. It is blind to values that
// change places within 1024 (aligned), to exchanged pages of equal sums, and to what stands around
// the values: names and shapes. Not made against somebody who picks the values.
class ValuesDigest {
 public:
  // Values `first`.. of the update's data, counted over all tensors in file order. Returns their
  // LargestMagnitudeBits, which the same pass finds.
  uint32_t Add(uint64_t first, std::span<const float> values);
  void Merge(const ValuesDigest& other) { sum_ += other.sum_; }
  bool operator==(const ValuesDigest&) const = default;

 private:
  uint64_t sum_ = 0;
};

}  // namespace rivulet
