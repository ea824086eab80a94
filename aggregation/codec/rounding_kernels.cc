#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "aggregation/codec/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "aggregation/codec/rounding_kernels.cc"
#include "hwy/foreach_target.h"  // compiles this file once per instruction set
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace rivulet::codec_kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Plain loops below are left to the compiler, which vectorises them for the instruction set.

using Floats = hn::CappedTag<float, 8>;

float LargestOf(const float* x, size_t n) {
  uint32_t largest = 0;
  for (size_t at = 0; at < n; ++at) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[at]) & 0x7FFFFFFFu);
  }
  return std::bit_cast<float>(largest);
}

// codes = (clamp(nearest(x factor + offset), low, high) + random) >> 16, everything in 2^-16 codes.
struct FixedGrid {
  float factor, offset;
  int32_t low, high;
};
void RoundBlock(const FixedGrid& grid, const float* x, size_t n, const uint16_t* random,
                int8_t* codes) {
  size_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<uint16_t, Floats> d16;
  const hn::Rebind<int8_t, Floats> d8;
  const auto factor = hn::Set(d, grid.factor), offset = hn::Set(d, grid.offset);
  const auto low = hn::Set(di, grid.low), high = hn::Set(di, grid.high);
  const size_t lanes = hn::Lanes(d);
  for (; at + lanes <= n; at += lanes) {
    auto fixed = hn::NearestInt(hn::Add(hn::Mul(hn::LoadU(d, x + at), factor), offset));
    fixed = hn::Min(hn::Max(fixed, low), high);
    fixed = hn::Add(fixed, hn::PromoteTo(di, hn::LoadU(d16, random + at)));
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<16>(fixed)), d8, codes + at);
  }
#endif
  for (; at < n; ++at) {
    const float t = x[at] * grid.factor + grid.offset;
    const auto nearest = static_cast<int32_t>(std::nearbyint(t));
    const int32_t fixed = std::min(std::max(nearest, grid.low), grid.high);
    codes[at] = static_cast<int8_t>((fixed + random[at]) >> 16);
  }
}

float RoundOneAll(const RoundingGrid& grid, const float* x, size_t n, float absmax,
                  const uint16_t* random, int8_t* codes) {
  const bool flat = absmax < 0x1p-96f;  // its inverse would not be finite
  const float factor = flat ? 0.0f : grid.top / absmax * grid.gain * 0x1p16f;
  RoundBlock({factor, grid.offset * 0x1p16f, grid.low * 65536, grid.high * 65536}, x, n, random,
             codes);
  return flat ? 0.0f : absmax / grid.top;
}

void RoundInBlocksAll(const RoundingGrid& grid, const float* x, size_t n, const uint16_t* random,
                      float* scales, int8_t* codes) {
  for (size_t first = 0; first < n; first += grid.block) {
    const size_t size = std::min(grid.block, n - first);
    const float absmax = LargestOf(x + first, size);
    *scales++ = RoundOneAll(grid, x + first, size, absmax, random + first, codes + first);
  }
}

void ScaleInBlocksAll(const RoundingGrid& grid, const int8_t* codes, size_t n, const float* scales,
                      float* out) {
  const float offset = grid.offset;
  for (size_t first = 0; first < n; first += grid.block) {
    const size_t end = std::min(n, first + grid.block);
    const float factor = *scales++ / grid.gain;
    for (size_t at = first; at < end; ++at) {
      out[at] = (static_cast<float>(codes[at]) - offset) * factor;
    }
  }
}

bool CodesWithinAll(const int8_t* codes, size_t n, int32_t low, int32_t high) {
  int8_t smallest = 127, largest = -128;
  for (size_t at = 0; at < n; ++at) {
    smallest = std::min(smallest, codes[at]);
    largest = std::max(largest, codes[at]);
  }
  return n == 0 || (smallest >= low && largest <= high);
}

template <typename Word, uint32_t kBits>
void FoldWords(const int8_t* codes, size_t n, uint8_t* packed) {
  constexpr size_t kCodes = sizeof(Word);  // 8 / bits of them
  const size_t whole = n / kCodes;
  for (size_t at = 0; at < whole; ++at) {
    Word word;
    std::memcpy(&word, codes + at * kCodes, sizeof(word));
    Word folded = 0;
    for (uint32_t code = 0; code < kCodes; ++code) folded |= word >> (code * (8 - kBits));
    packed[at] = static_cast<uint8_t>(folded);
  }
  if (whole * kCodes == n) return;
  uint8_t last = 0;
  for (size_t code = whole * kCodes; code < n; ++code) {
    last |= static_cast<uint8_t>(codes[code] << (code % kCodes * kBits));
  }
  packed[whole] = last;
}
void FoldCodesAll(const int8_t* codes, size_t n, uint32_t bits, uint8_t* packed) {
  bits == 4 ? FoldWords<uint16_t, 4>(codes, n, packed) : FoldWords<uint32_t, 2>(codes, n, packed);
}

void UnfoldCodesAll(const uint8_t* packed, size_t n, uint32_t bits, int8_t* codes) {
  const size_t bytes = (n * bits + 7) / 8;
  if (bits == 4) {
    for (size_t at = 0; at < bytes; ++at) {
      const uint32_t byte = packed[at];
      const auto word = static_cast<uint16_t>((byte | byte << 4) & 0x0F0F);
      std::memcpy(codes + 2 * at, &word, sizeof(word));
    }
    return;
  }
  for (size_t at = 0; at < bytes; ++at) {
    const uint32_t byte = packed[at];
    const uint32_t word = (byte | byte << 6 | byte << 12 | byte << 18) & 0x03030303;
    std::memcpy(codes + 4 * at, &word, sizeof(word));
  }
}

size_t RoundToIntegersAll(const float* x, size_t n, double scale, double limit,
                          const uint32_t* words, int32_t* out) {
  size_t clamped = 0, at = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<double, 4> d;
  const hn::Rebind<float, decltype(d)> d32;
  const hn::Rebind<int32_t, decltype(d)> di;
  const auto step = hn::Set(d, scale), most = hn::Set(d, limit), least = hn::Set(d, -limit);
  const auto flip = hn::Set(di, std::numeric_limits<int32_t>::min());
  const auto back = hn::Set(d, 0x1p31 + 1);  // a word with its top bit flipped is word - 2^31
  const auto units = hn::Set(d, 0x1p32), one = hn::Set(d, 1.0);
  const size_t lanes = hn::Lanes(d);
  for (; at + lanes <= n; at += lanes) {
    const auto t = hn::Mul(hn::PromoteTo(d, hn::LoadU(d32, x + at)), step);
    const auto below = hn::Floor(t);
    // r < floor(z) for an integer r is r + 1 <= z.
    const auto z = hn::Mul(hn::Sub(t, below), units);
    const auto word = hn::Xor(hn::LoadU(di, reinterpret_cast<const int32_t*>(words + at)), flip);
    const auto next = hn::Add(hn::PromoteTo(d, word), back);
    const auto rounded = hn::Add(below, hn::IfThenElseZero(hn::Le(next, z), one));
    const auto bounded = hn::Min(hn::Max(rounded, least), most);
    clamped += lanes - hn::CountTrue(d, hn::Eq(rounded, bounded));
    hn::StoreU(hn::DemoteTo(di, bounded), di, out + at);
  }
#endif
  for (; at < n; ++at) {
    const double t = static_cast<double>(x[at]) * scale;
    const double below = std::floor(t);
    const double z = (t - below) * 0x1p32;
    const double rounded = below + (static_cast<double>(words[at]) + 1.0 <= z ? 1.0 : 0.0);
    const double bounded = std::min(std::max(rounded, -limit), limit);
    clamped += rounded != bounded ? 1 : 0;
    out[at] = static_cast<int32_t>(bounded);
  }
  return clamped;
}

double NearestCentroidsAll(const CentroidGrid& grid, const float* x, size_t n, uint16_t* codes) {
  double product = 0;
  size_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<uint16_t, Floats> d16;
  const auto minus = hn::Set(di, static_cast<int32_t>(grid.levels));
  const size_t lanes = hn::Lanes(d);
  for (; at + lanes <= n;) {
    auto sum = hn::Zero(d);  // of up to 512 products in binary32
    for (size_t step = 0; step < 64 && at + lanes <= n; ++step, at += lanes) {
      const auto value = hn::LoadU(d, x + at);
      const auto magnitude = hn::Abs(value);
      auto code = hn::Zero(di);
      auto centroid = hn::Set(d, grid.centroids[0]);
      for (uint32_t border = 0; border + 1 < grid.levels; ++border) {
        const auto above = hn::Ge(magnitude, hn::Set(d, grid.borders[border]));
        code = hn::Sub(code, hn::VecFromMask(di, hn::RebindMask(di, above)));
        centroid = hn::IfThenElse(above, hn::Set(d, grid.centroids[border + 1]), centroid);
      }
      sum = hn::Add(sum, hn::Mul(magnitude, centroid));
      const auto negative = hn::RebindMask(di, hn::Lt(value, hn::Zero(d)));
      code = hn::Add(code, hn::IfThenElseZero(negative, minus));
      hn::StoreU(hn::DemoteTo(d16, code), d16, codes + at);
    }
    product += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum)));
  }
#endif
  for (; at < n; ++at) {
    const float magnitude = std::fabs(x[at]);
    uint32_t code = 0;
    for (uint32_t border = 0; border + 1 < grid.levels; ++border) {
      code += magnitude >= grid.borders[border] ? 1 : 0;
    }
    product += static_cast<double>(magnitude * grid.centroids[code]);
    codes[at] = static_cast<uint16_t>(code + (x[at] < 0 ? grid.levels : 0));
  }
  return product;
}

void NearestCodesAll(const float* x, size_t n, float scale, int32_t limit, uint16_t* codes,
                     float* residual) {
  size_t at = 0;
  if (scale == 0) std::fill_n(codes, n, static_cast<uint16_t>(limit));
  if (scale == 0) return;
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<uint16_t, Floats> d16;
  const auto step = hn::Set(d, scale);
  const auto most = hn::Set(di, limit), least = hn::Set(di, -limit);
  for (; at + hn::Lanes(d) <= n; at += hn::Lanes(d)) {
    const auto value = hn::LoadU(d, x + at);
    const auto nearest = hn::NearestInt(hn::Div(value, step));
    const auto code = hn::Min(hn::Max(nearest, least), most);
    hn::StoreU(hn::DemoteTo(d16, hn::Add(code, most)), d16, codes + at);
    if (residual == nullptr) continue;
    hn::StoreU(hn::Sub(value, hn::Mul(hn::ConvertTo(d, code), step)), d, residual + at);
  }
#endif
  for (; at < n; ++at) {
    const float value = x[at];
    const float most_code = static_cast<float>(limit);
    const float code = std::clamp(std::nearbyint(value / scale), -most_code, most_code);
    codes[at] = static_cast<uint16_t>(static_cast<int32_t>(code) + limit);
    if (residual != nullptr) residual[at] = value - code * scale;
  }
}

}  // namespace rivulet::codec_kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rivulet::codec_kernels {

HWY_EXPORT(RoundOneAll);
HWY_EXPORT(RoundInBlocksAll);
HWY_EXPORT(ScaleInBlocksAll);
HWY_EXPORT(CodesWithinAll);
HWY_EXPORT(FoldCodesAll);
HWY_EXPORT(UnfoldCodesAll);
HWY_EXPORT(RoundToIntegersAll);
HWY_EXPORT(NearestCentroidsAll);
HWY_EXPORT(NearestCodesAll);

float RoundOne(const RoundingGrid& grid, const float* x, size_t n, float absmax,
               const uint16_t* random, int8_t* codes) {
  return HWY_DYNAMIC_DISPATCH(RoundOneAll)(grid, x, n, absmax, random, codes);
}
void RoundInBlocks(const RoundingGrid& grid, const float* x, size_t n, const uint16_t* random,
                   float* scales, int8_t* codes) {
  HWY_DYNAMIC_DISPATCH(RoundInBlocksAll)(grid, x, n, random, scales, codes);
}
void ScaleInBlocks(const RoundingGrid& grid, const int8_t* codes, size_t n, const float* scales,
                   float* out) {
  HWY_DYNAMIC_DISPATCH(ScaleInBlocksAll)(grid, codes, n, scales, out);
}
bool CodesWithin(const int8_t* codes, size_t n, int32_t low, int32_t high) {
  return HWY_DYNAMIC_DISPATCH(CodesWithinAll)(codes, n, low, high);
}
void FoldCodes(const int8_t* codes, size_t n, uint32_t bits, uint8_t* packed) {
  HWY_DYNAMIC_DISPATCH(FoldCodesAll)(codes, n, bits, packed);
}
void UnfoldCodes(const uint8_t* packed, size_t n, uint32_t bits, int8_t* codes) {
  HWY_DYNAMIC_DISPATCH(UnfoldCodesAll)(packed, n, bits, codes);
}
size_t RoundToIntegers(const float* x, size_t n, double scale, double limit, const uint32_t* words,
                       int32_t* out) {
  return HWY_DYNAMIC_DISPATCH(RoundToIntegersAll)(x, n, scale, limit, words, out);
}
double NearestCentroids(const CentroidGrid& grid, const float* x, size_t n, uint16_t* codes) {
  return HWY_DYNAMIC_DISPATCH(NearestCentroidsAll)(grid, x, n, codes);
}
void NearestCodes(const float* x, size_t n, float scale, int32_t limit, uint16_t* codes,
                  float* residual) {
  HWY_DYNAMIC_DISPATCH(NearestCodesAll)(x, n, scale, limit, codes, residual);
}

}  // namespace rivulet::codec_kernels
#endif
