#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "privacy/secagg/shared/ring.h"

namespace rivulet {

// Several values in one element of the ring: value i of an element counts 2^(i width), and `width`
// bits hold the sum of all clients' values, so that no sum reaches into its neighbour (of signs
// base^i, for few powers of two fit them closely). The two slack bits of an element (section 8.3 of
// the protocol's document) and the width that the ring has at least are then paid once for all of
// them, and a 64-bit word of keystream masks them all.
class SlotLayout {
 public:
  // Values of magnitude up to 2^(value_bits-1) - 1, and sums whose integer weights add up to
  // `weights` at most. value_bits 2..60.
  SlotLayout(int value_bits, uint64_t weights);
  // Votes, -1, 0 or 1 of each of `voters` (1 .. 5000): ceil(log2(2 voters + 1)) bits a slot, which
  // is no power of two of values, so that most cohorts spare a bit a slot.
  static SlotLayout OfVotes(uint64_t voters);
  // Signs, 0 or 1 of each of `clients` (1 .. 5000): digits to the base clients + 1, unsigned.
  static SlotLayout OfSigns(uint64_t clients);
  // One value in each element, whatever it is: what noise makes of it has no bound.
  static SlotLayout Single(int value_bits);

  size_t slots() const { return slots_; }  // values of an element, >= 1
  int element_bits() const;                // p
  size_t ElementsFor(size_t values) const { return (values + slots_ - 1) / slots_; }

  // out[0 .. ElementsFor(values.size())) = the values.
  void Write(std::span<const int64_t> values, secagg::RingVector& out) const;
  // The values of a sum; `values` says how many there are.
  void Read(const secagg::RingVector& sum, std::span<int64_t> values) const;

 private:
  void ReadDigits(const secagg::RingVector& sum, std::span<int64_t> values) const;

  int value_bits_ = 0;
  int width_ = 0;      // bits of a slot
  uint64_t base_ = 0;  // of signs, in place of 2^width
  size_t slots_ = 1;
};

}  // namespace rivulet
