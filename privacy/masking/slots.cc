#include "privacy/masking/slots.h"

#include <algorithm>
#include <bit>

namespace rivulet {
namespace {

constexpr int kSlackBits = 2;

}  // namespace

SlotLayout::SlotLayout(int value_bits, uint64_t weights)
    : value_bits_(value_bits),
      width_(value_bits + static_cast<int>(std::bit_width(std::max<uint64_t>(weights, 1) - 1))),
      slots_(static_cast<size_t>(std::max(1, (secagg::kMaxBits - kSlackBits) / width_))) {}

SlotLayout SlotLayout::OfVotes(uint64_t voters) {
  constexpr int kVoteBits = 2;
  SlotLayout layout(kVoteBits, voters);
  const int top = layout.width_;  // of the highest slot, for which the ring is never narrower
  layout.width_ = std::bit_width(2 * voters);
  layout.slots_ = static_cast<size_t>(1 + (secagg::kMaxBits - kSlackBits - top) / layout.width_);
  return layout;
}

SlotLayout SlotLayout::OfSigns(uint64_t clients) {
  SlotLayout layout(1, clients);
  layout.base_ = clients + 1;
  layout.slots_ = 1;
  for (const int above = static_cast<int>(std::bit_width(clients - 1)) + kSlackBits;;
       ++layout.slots_) {  // until the ring of one more would be too wide
    SlotLayout more = layout;
    ++more.slots_;
    if (more.element_bits() + above > secagg::kMaxBits) return layout;
  }
}

SlotLayout SlotLayout::Single(int value_bits) {
  SlotLayout layout(value_bits, 1);
  layout.slots_ = 1;
  return layout;
}

int SlotLayout::element_bits() const {
  if (base_ == 0) return value_bits_ + width_ * static_cast<int>(slots_ - 1);
  uint64_t ones = 0;  // the largest element of a client: base is at most 2^13, ones below 2^60
  for (size_t i = 0; i < slots_; ++i) ones = ones * base_ + 1;
  return static_cast<int>(std::bit_width(ones)) + 1;
}

void SlotLayout::Write(std::span<const int64_t> values, secagg::RingVector& out) const {
  for (size_t first = 0, at = 0; first < values.size(); first += slots_, ++at) {
    uint64_t element = 0;  // modulo 2^64, of which the ring's modulus is a divisor
    for (size_t i = std::min(values.size(), first + slots_); i-- > first;) {
      element =
          (base_ > 0 ? element * base_ : element << width_) + static_cast<uint64_t>(values[i]);
    }
    out.Set(at, element);
  }
}

void SlotLayout::Read(const secagg::RingVector& sum, std::span<int64_t> values) const {
  if (base_ > 0) return ReadDigits(sum, values);
  const int above = 64 - width_;
  for (size_t first = 0, at = 0; first < values.size(); first += slots_, ++at) {
    int64_t rest = sum.SignedAt(at);
    const size_t end = std::min(values.size(), first + slots_);
    for (size_t i = first; i + 1 < end; ++i) {  // the low slot, sign and all; it borrowed that much
      values[i] = static_cast<int64_t>(static_cast<uint64_t>(rest) << above) >> above;
      rest = (rest - values[i]) >> width_;
    }
    values[end - 1] = rest;
  }
}

void SlotLayout::ReadDigits(const secagg::RingVector& sum, std::span<int64_t> values) const {
  for (size_t first = 0, at = 0; first < values.size(); first += slots_, ++at) {
    auto rest = static_cast<uint64_t>(std::max<int64_t>(0, sum.SignedAt(at)));
    const size_t end = std::min(values.size(), first + slots_);
    for (size_t i = first; i < end; ++i, rest /= base_) {
      values[i] = static_cast<int64_t>(rest % base_);
    }
  }
}

}  // namespace rivulet
