#include "privacy/secagg/shared/packing.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "privacy/secagg/shared/packed_bits.h"

namespace rivulet::secagg {

void PackRange(const RingVector& vector, size_t first, size_t count, std::string& out) {
  const uint8_t bits = vector.bits();
  if (first > vector.size() || count > vector.size() - first || first % 8 * bits % 8 != 0) {
    std::fputs("rivulet: packing: range outside the vector or inside a byte\n", stderr);
    std::abort();
  }
  const size_t at = out.size();
  out.resize(at + PackedBytes(count, bits));
  std::visit(
      [&](const auto& words) { WritePackedBits(words.data() + first, count, bits, &out[at]); },
      vector.words());
}

std::string Pack(const RingVector& vector) {
  std::string out;
  PackRange(vector, 0, vector.size(), out);
  return out;
}

absl::Status CheckPacked(std::string_view packed, size_t size, uint8_t bits) {
  const auto refuse = [](std::string what) {
    return Refuse(absl::StatusCode::kInvalidArgument, "packed vector: " + what);
  };
  if (bits < kMinBits || bits > kMaxBits) {
    return refuse("got " + std::to_string(bits) + " bits, want 8..62");
  }
  const size_t wanted = PackedBytes(size, bits);
  if (packed.size() != wanted) {
    return refuse("got " + std::to_string(packed.size()) + " bytes, want " +
                  std::to_string(wanted));
  }
  const size_t used = size % 8 * bits % 8;  // bits of the last byte, 0 = all
  if (used != 0 && (static_cast<uint8_t>(packed.back()) >> used) != 0) {
    return refuse("got padding bits that are set, want zero");
  }
  return absl::OkStatus();
}

absl::StatusOr<RingVector> Unpack(std::string_view packed, size_t size, uint8_t bits) {
  RV_RETURN_IF_ERROR(CheckPacked(packed, size, bits));  // before any memory of `size`
  RingVector vector(bits, size);
  RV_RETURN_IF_ERROR(vector.AddPacked(packed));
  return vector;
}

}  // namespace rivulet::secagg
