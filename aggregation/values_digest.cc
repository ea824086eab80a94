#include "aggregation/values_digest.h"

#include <algorithm>

#include "aggregation/fixed_point_kernel.h"

namespace rivulet {
namespace {

constexpr uint64_t kPage = 1024;  // values that share a factor: 4 KiB, a page

}  // namespace

uint32_t ValuesDigest::Add(uint64_t first, std::span<const float> values) {
  uint32_t largest = 0;
  while (!values.empty()) {
    const uint64_t count = std::min<uint64_t>(kPage - first % kPage, values.size());
    const ValueScan page = ScanValues(values.first(count));
    largest = std::max(largest, page.largest);
    sum_ += (2 * (first / kPage) + 1) * page.sum_of_bits;
    first += count;
    values = values.subspan(count);
  }
  return largest;
}

}  // namespace rivulet
