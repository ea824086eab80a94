#pragma once

#include <cstdint>
#include <vector>

namespace rivulet {

// One tokenised text, or a pair as one sequence. The three vectors have the same length.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;      // segment of encoders: 0 or 1
  std::vector<uint8_t> special_mask;  // 1: added by the post-processor, not found in the text
};

}  // namespace rivulet
