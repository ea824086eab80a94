#include "aggregation/fixed_point_kernel.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdlib>

namespace rivulet {
namespace {

constexpr uint32_t kMagnitudeMask = 0x7FFFFFFFu;
constexpr double kMagic = 0x1.8p52;  // adding it leaves no fraction bits: the FPU rounds, ties even
constexpr int64_t kExactWeight = int64_t{1} << 29;  // 24 + 29 bits: the product is a double

// The bodies below are compiled for the baseline and again for AVX2: same instructions but wider,
// hence the same bits. Function clones chosen by the loader would do, but sanitizers break them.
__attribute__((always_inline)) inline uint32_t LargestBody(const float* values, size_t count) {
  uint32_t largest = 0;
  for (size_t index = 0; index < count; ++index) {
    largest = std::max(largest, std::bit_cast<uint32_t>(values[index]) & kMagnitudeMask);
  }
  return largest;
}

__attribute__((always_inline)) inline ValueScan ScanBody(const float* values, size_t count) {
  ValueScan scan;
  for (size_t index = 0; index < count; ++index) {
    const uint32_t bits = std::bit_cast<uint32_t>(values[index]);
    scan.largest = std::max(scan.largest, bits & kMagnitudeMask);
    scan.sum_of_bits += bits;
  }
  return scan;
}

__attribute__((always_inline)) inline void AddBody(const float* __restrict values, size_t count,
                                                   double factor, int64_t* __restrict words) {
  for (size_t index = 0; index < count; ++index) {
    const double product = static_cast<double>(values[index]) * factor;  // exact
    words[index] += std::bit_cast<int64_t>(product + kMagic) - std::bit_cast<int64_t>(kMagic);
  }
}

// Rubbish from values out of range wraps around, hence unsigned words.
template <int kCount, bool kAdd>
__attribute__((always_inline)) inline uint32_t TogetherBody(const ScaledValues* updates,
                                                            size_t count, uint64_t* words) {
  const float* values[kCount];
  double factors[kCount];
  for (int each = 0; each < kCount; ++each) {
    values[each] = updates[each].values;
    factors[each] = updates[each].factor;
  }
  uint32_t largest = 0;
  for (size_t index = 0; index < count; ++index) {
    uint64_t sum = -kCount * std::bit_cast<uint64_t>(kMagic);
    for (int each = 0; each < kCount; ++each) {
      const float value = values[each][index];
      largest = std::max(largest, std::bit_cast<uint32_t>(value) & kMagnitudeMask);
      sum += std::bit_cast<uint64_t>(static_cast<double>(value) * factors[each] + kMagic);
    }
    words[index] += kAdd ? sum : -sum;
  }
  return largest;
}

template <bool kAdd>
__attribute__((always_inline)) inline uint32_t TogetherAny(std::span<const ScaledValues> updates,
                                                           size_t count, int64_t* words) {
  auto* unsigned_words = reinterpret_cast<uint64_t*>(words);
  switch (updates.size()) {
    case 1:
      return TogetherBody<1, kAdd>(updates.data(), count, unsigned_words);
    case 2:
      return TogetherBody<2, kAdd>(updates.data(), count, unsigned_words);
    case 3:
      return TogetherBody<3, kAdd>(updates.data(), count, unsigned_words);
    default:
      return TogetherBody<4, kAdd>(updates.data(), count, unsigned_words);
  }
}

uint32_t LargestBaseline(const float* values, size_t count) { return LargestBody(values, count); }
ValueScan ScanBaseline(const float* values, size_t count) { return ScanBody(values, count); }
void AddBaseline(const float* values, size_t count, double factor, int64_t* words) {
  AddBody(values, count, factor, words);
}

uint32_t TogetherBaseline(std::span<const ScaledValues> updates, size_t count, int64_t* words) {
  return TogetherAny<true>(updates, count, words);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) uint32_t TogetherAvx2(std::span<const ScaledValues> updates,
                                                      size_t count, int64_t* words) {
  return TogetherAny<true>(updates, count, words);
}
__attribute__((target("avx2"))) uint32_t LargestAvx2(const float* values, size_t count) {
  return LargestBody(values, count);
}
__attribute__((target("avx2"))) ValueScan ScanAvx2(const float* values, size_t count) {
  return ScanBody(values, count);
}
__attribute__((target("avx2"))) void AddAvx2(const float* values, size_t count, double factor,
                                             int64_t* words) {
  AddBody(values, count, factor, words);
}
bool HasAvx2() {
  static const bool has = __builtin_cpu_supports("avx2");
  return has;
}
#else
bool HasAvx2() { return false; }
#define LargestAvx2 LargestBaseline
#define ScanAvx2 ScanBaseline
#define AddAvx2 AddBaseline
#define TogetherAvx2 TogetherBaseline
#endif

}  // namespace

// Up to 2^51 kMagic rounds at the unit. Of NaN the answer is no.
bool FitsDoubles(int64_t weight, uint32_t magnitude) {
  const int64_t size = std::abs(weight);
  return size < kExactWeight &&
         static_cast<double>(std::bit_cast<float>(magnitude)) * static_cast<double>(size) < 0x1p27;
}

uint32_t LargestMagnitudeBits(std::span<const float> values) {
  return HasAvx2() ? LargestAvx2(values.data(), values.size())
                   : LargestBaseline(values.data(), values.size());
}

ValueScan ScanValues(std::span<const float> values) {
  return HasAvx2() ? ScanAvx2(values.data(), values.size())
                   : ScanBaseline(values.data(), values.size());
}

int64_t RoundedProduct(float value, int64_t weight) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const int exponent = std::max<int>((bits & kMagnitudeMask) >> 23, 1);
  const uint64_t mantissa =
      (bits & 0x7FFFFFu) | ((bits & kMagnitudeMask) >= 0x800000u ? 0x800000u : 0u);
  const uint64_t product = mantissa * static_cast<uint64_t>(std::abs(weight));  // < 2^55
  // value = mantissa * 2^(exponent - 150), so the result is product * 2^(exponent - 126).
  const int shift = 126 - exponent;
  uint64_t word = 0;
  if (shift <= 0) {
    word = product << -shift;  // |value| < 128: at most 7 places, below 2^62
  } else if (shift < 57) {     // beyond that product / 2^shift < 1/2
    const uint64_t below_half = (uint64_t{1} << (shift - 1)) - 1;
    word = (product + below_half + ((product >> shift) & 1)) >> shift;
  }
  const bool negative = (bits >> 31) != (weight < 0);
  return negative ? -static_cast<int64_t>(word) : static_cast<int64_t>(word);
}

void AddRounded(std::span<const float> values, int64_t weight, uint32_t magnitude, int64_t* words) {
  if (!FitsDoubles(weight, magnitude)) {
    for (size_t index = 0; index < values.size(); ++index) {
      words[index] += RoundedProduct(values[index], weight);
    }
    return;
  }
  const double factor = static_cast<double>(weight) * 0x1p24;
  HasAvx2() ? AddAvx2(values.data(), values.size(), factor, words)
            : AddBaseline(values.data(), values.size(), factor, words);
}

uint32_t AddTogether(std::span<const ScaledValues> updates, size_t count, int64_t* words) {
  return HasAvx2() ? TogetherAvx2(updates, count, words) : TogetherBaseline(updates, count, words);
}

void SubtractTogether(std::span<const ScaledValues> updates, size_t count, int64_t* words) {
  TogetherAny<false>(updates, count, words);
}

}  // namespace rivulet
