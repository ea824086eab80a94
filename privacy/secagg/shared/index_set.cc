#include "privacy/secagg/shared/index_set.h"

#include <bit>

namespace rivulet::secagg {

uint32_t IndexBits::Count() const {
  uint32_t count = 0;
  for (const char byte : bytes_) count += std::popcount(static_cast<uint8_t>(byte));
  return count;
}

std::vector<uint32_t> IndexBits::Indices() const {
  std::vector<uint32_t> out;
  for (uint32_t index = 0; index < n_; ++index) {
    if (Contains(index)) out.push_back(index);
  }
  return out;
}

absl::Status IndexBits::Assign(uint32_t n, std::string_view bytes) {
  if (bytes.size() != BytesOf(n)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "bitmap: got " + std::to_string(bytes.size()) + " bytes for " +
                      std::to_string(n) + " bits");
  }
  if (n % 8 != 0 && static_cast<uint8_t>(bytes.back()) >> (n % 8) != 0) {
    return Refuse(absl::StatusCode::kInvalidArgument, "bitmap: bits behind the last member");
  }
  n_ = n;
  bytes_ = bytes;
  return absl::OkStatus();
}

}  // namespace rivulet::secagg
