#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/status.h"
#include "privacy/secagg/shared/ring.h"

namespace rivulet::secagg {

// Bytes of `size` elements of `bits` bits: ceil(size bits / 8). No overflow below 2^58 elements.
constexpr size_t PackedBytes(size_t size, uint8_t bits) {
  return size / 8 * bits + (size % 8 * bits + 7) / 8;
}

// `bits` bits an element, least significant bit first, no gaps; unused bits of the last byte are
// zero. A chunk of 2^20 elements fills whole bytes, so chunks may be packed one by one.
std::string Pack(const RingVector& vector);
// Elements [first, first + count); first * bits must be a multiple of 8. Appends to `out`.
void PackRange(const RingVector& vector, size_t first, size_t count, std::string& out);

// InvalidArgument unless `packed` has exactly PackedBytes(size, bits) bytes and its unused bits are
// zero.
absl::Status CheckPacked(std::string_view packed, size_t size, uint8_t bits);

// Errors: those of CheckPacked; InvalidArgument for a width outside 8..62.
absl::StatusOr<RingVector> Unpack(std::string_view packed, size_t size, uint8_t bits);

}  // namespace rivulet::secagg
