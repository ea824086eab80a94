#include <cstdint>
#include <cstdlib>

#include "privacy/secagg/shared/packing.h"

// Width, size (two bytes), then the packed vector.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const std::string_view packed(reinterpret_cast<const char*>(data) + 3, size - 3);
  const size_t elements = data[1] | data[2] << 8;
  const auto vector = rivulet::secagg::Unpack(packed, elements, data[0]);
  if (!vector.ok()) return 0;
  if (vector->size() != elements || rivulet::secagg::Pack(*vector) != packed) std::abort();
  return 0;
}
