#include "aggregation/values_digest.h"

#include <algorithm>
#include <bit>

namespace rivulet {
namespace {

constexpr uint64_t kPage = 1024;  // values that share a factor: 4 KiB, a page

uint64_t SumOfBits(std::span<const float> values) {
  uint64_t sum = 0;
  for (const float value : values) sum += std::bit_cast<uint32_t>(value);
  return sum;
}

}  // namespace

void ValuesDigest::Add(uint64_t first, std::span<const float> values) {
  while (!values.empty()) {
    const uint64_t count = std::min<uint64_t>(kPage - first % kPage, values.size());
    sum_ += (2 * (first / kPage) + 1) * SumOfBits(values.first(count));
    first += count;
    values = values.subspan(count);
  }
}

}  // namespace rivulet
