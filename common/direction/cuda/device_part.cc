#include "common/direction/cuda/direction_cuda.h"

namespace rivulet {

std::vector<DevicePart> DevicePartsOf(const Manifest& manifest) {
  std::vector<DevicePart> parts;
  int64_t offset = 0;
  for (const TensorPart& part : PartsOf(manifest)) {
    parts.push_back({part, part.elements(), offset});
    offset += part.elements();
  }
  return parts;
}

}  // namespace rivulet
