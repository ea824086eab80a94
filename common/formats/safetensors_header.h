#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/formats/safetensors.h"

// The JSON part of a safetensors file, as it stands there: nothing about it has been compared with
// the data yet. For safetensors.cc.

namespace rivulet {

struct HeaderEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<HeaderEntry> entries;  // in the order of the text
  SafetensorsMetadata metadata;
};

// Errors: InvalidArgument; kind kInvalidHeader, kInvalidHeaderDeserialization or kStricterRule.
absl::StatusOr<SafetensorsHeader> ParseHeader(std::string_view text, SafetensorsProfile profile);

absl::Status RefuseSafetensors(SafetensorsError kind, std::string_view message);

}  // namespace rivulet
