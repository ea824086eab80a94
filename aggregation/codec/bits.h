#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace rivulet {

// Value i occupies bits [i b, (i + 1) b) of a little-endian bit string of ceil(n b / 8) bytes; the
// last byte is filled with zeros. b = 1 .. 16; codes below 2^b.
inline size_t PackedBytes(size_t n, uint32_t bits) {
  return static_cast<size_t>((uint64_t{n} * bits + 7) / 8);
}
void PackCodes(std::span<const uint16_t> codes, uint32_t bits, uint8_t* packed);
// Reads PackedBytes(codes.size(), bits). False when a filling bit is set.
[[nodiscard]] bool UnpackCodes(const uint8_t* packed, uint32_t bits, std::span<uint16_t> codes);

// Sorted distinct indices below d as Rice-coded gaps g = index - previous - 1: g >> b zeros, a one,
// then the low b bits of g, least significant first; filled with zeros up to a byte.
// b = ceil(log2(ln 2 d / k)), the best for k indices drawn at random.
uint32_t RiceParameter(size_t d, size_t k);
uint64_t MaxRiceBytes(size_t d, size_t k);
void AppendRice(std::span<const uint32_t> indices, uint32_t parameter, std::string& out);
// Errors: InvalidArgument when the bits end early, bytes are left over, a filling bit is set, or an
// index is not below d.
absl::StatusOr<std::vector<uint32_t>> DecodeRice(std::string_view bytes, uint32_t parameter,
                                                 size_t d, size_t k);

}  // namespace rivulet
