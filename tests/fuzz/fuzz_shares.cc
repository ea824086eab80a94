#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "privacy/secagg/shared/shamir.h"

using rivulet::secagg::Share;

// Threshold, then shares of 34 bytes. What opens with errors opens without the faulty shares too.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::vector<Share> shares;
  for (size_t at = 1; at + 34 <= size; at += 34) {
    Share& share = shares.emplace_back();
    share.x = static_cast<uint16_t>(data[at] | data[at + 1] << 8);
    std::copy_n(data + at + 2, 32, share.value.begin());
  }
  const auto plain = rivulet::secagg::Combine(shares, data[0]);
  const auto corrected = rivulet::secagg::CombineWithErrors(shares, data[0]);
  if (corrected.ok() && !plain.ok()) std::abort();
  if (!corrected.ok()) return 0;
  std::erase_if(shares, [&](const Share& share) {
    return std::ranges::binary_search(corrected->faulty_x, share.x);
  });
  const auto again = rivulet::secagg::Combine(shares, data[0]);
  if (!again.ok() || !(*again == corrected->secret)) std::abort();
  return 0;
}
