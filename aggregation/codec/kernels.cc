#include "aggregation/codec/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/formats/float_cast.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "aggregation/codec/kernels.cc"
#include "hwy/foreach_target.h"  // compiles this file once per instruction set
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace rivulet::codec_kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Plain loops below are left to the compiler, which vectorises them for the instruction set.

using Floats = hn::CappedTag<float, 8>;
using FloatVector = hn::Vec<Floats>;
constexpr size_t kL1Floats = 4096;

HWY_INLINE void Butterfly(FloatVector& a, FloatVector& b) {
  const FloatVector sum = hn::Add(a, b);
  b = hn::Sub(a, b);
  a = sum;
}

// Strides h, 2h and 4h over [0, n); h is at least one vector.
void HadamardBy8(float* data, size_t n, size_t h) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  for (size_t base = 0; base < n; base += 8 * h) {
    for (size_t at = base; at < base + h; at += lanes) {
      float* const x = data + at;
      FloatVector v0 = hn::LoadU(d, x), v1 = hn::LoadU(d, x + h), v2 = hn::LoadU(d, x + 2 * h),
                  v3 = hn::LoadU(d, x + 3 * h), v4 = hn::LoadU(d, x + 4 * h),
                  v5 = hn::LoadU(d, x + 5 * h), v6 = hn::LoadU(d, x + 6 * h),
                  v7 = hn::LoadU(d, x + 7 * h);
      Butterfly(v0, v1), Butterfly(v2, v3), Butterfly(v4, v5), Butterfly(v6, v7);
      Butterfly(v0, v2), Butterfly(v1, v3), Butterfly(v4, v6), Butterfly(v5, v7);
      Butterfly(v0, v4), Butterfly(v1, v5), Butterfly(v2, v6), Butterfly(v3, v7);
      hn::StoreU(v0, d, x), hn::StoreU(v1, d, x + h), hn::StoreU(v2, d, x + 2 * h);
      hn::StoreU(v3, d, x + 3 * h), hn::StoreU(v4, d, x + 4 * h), hn::StoreU(v5, d, x + 5 * h);
      hn::StoreU(v6, d, x + 6 * h), hn::StoreU(v7, d, x + 7 * h);
    }
  }
}

// Strides h and 2h.
void HadamardBy4(float* data, size_t n, size_t h) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  for (size_t base = 0; base < n; base += 4 * h) {
    for (size_t at = base; at < base + h; at += lanes) {
      float* const x = data + at;
      FloatVector v0 = hn::LoadU(d, x), v1 = hn::LoadU(d, x + h), v2 = hn::LoadU(d, x + 2 * h),
                  v3 = hn::LoadU(d, x + 3 * h);
      Butterfly(v0, v1), Butterfly(v2, v3);
      Butterfly(v0, v2), Butterfly(v1, v3);
      hn::StoreU(v0, d, x), hn::StoreU(v1, d, x + h);
      hn::StoreU(v2, d, x + 2 * h), hn::StoreU(v3, d, x + 3 * h);
    }
  }
}

// One stride, any size.
void HadamardBy2(float* data, size_t n, size_t h) {
  for (size_t base = 0; base < n; base += 2 * h) {
    float* __restrict const low = data + base;
    float* __restrict const high = low + h;
    for (size_t at = 0; at < h; ++at) {
      const float a = low[at], b = high[at];
      low[at] = a + b;
      high[at] = a - b;
    }
  }
}

// Strides from h up to n / 2.
void HadamardFrom(float* data, size_t n, size_t h) {
  while (h < n) {
    const size_t left = n / h;  // 2^(strides to do)
    if (left >= 8 && left != 16) {
      HadamardBy8(data, n, h);
      h *= 8;
    } else if (left >= 4) {
      HadamardBy4(data, n, h);
      h *= 4;
    } else {
      HadamardBy2(data, n, h);
      h *= 2;
    }
  }
}

#if HWY_TARGET != HWY_SCALAR
// All strides within a vector: x + (x with flipped signs), lanes exchanged.
HWY_INLINE FloatVector HadamardInVector(FloatVector v) {
  const Floats d;
  HWY_ALIGN static constexpr float kOdd[8] = {0, -0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f};
  HWY_ALIGN static constexpr float kUpper[8] = {0, 0, -0.0f, -0.0f, 0, 0, -0.0f, -0.0f};
  v = hn::Add(hn::Shuffle2301(v), hn::Xor(v, hn::Load(d, kOdd)));
  v = hn::Add(hn::Shuffle1032(v), hn::Xor(v, hn::Load(d, kUpper)));
#if HWY_TARGET <= HWY_AVX2
  HWY_ALIGN static constexpr float kHigh[8] = {0, 0, 0, 0, -0.0f, -0.0f, -0.0f, -0.0f};
  v = hn::Add(hn::SwapAdjacentBlocks(v), hn::Xor(v, hn::Load(d, kHigh)));
#endif
  return v;
}

// The first strides, up to those of eight vectors. n is a multiple of eight vectors.
void HadamardFirst(float* data, size_t n) {
  const Floats d;
  const size_t h = hn::Lanes(d);
  for (float* x = data; x < data + n; x += 8 * h) {
    FloatVector v0 = HadamardInVector(hn::LoadU(d, x));
    FloatVector v1 = HadamardInVector(hn::LoadU(d, x + h));
    FloatVector v2 = HadamardInVector(hn::LoadU(d, x + 2 * h));
    FloatVector v3 = HadamardInVector(hn::LoadU(d, x + 3 * h));
    FloatVector v4 = HadamardInVector(hn::LoadU(d, x + 4 * h));
    FloatVector v5 = HadamardInVector(hn::LoadU(d, x + 5 * h));
    FloatVector v6 = HadamardInVector(hn::LoadU(d, x + 6 * h));
    FloatVector v7 = HadamardInVector(hn::LoadU(d, x + 7 * h));
    Butterfly(v0, v1), Butterfly(v2, v3), Butterfly(v4, v5), Butterfly(v6, v7);
    Butterfly(v0, v2), Butterfly(v1, v3), Butterfly(v4, v6), Butterfly(v5, v7);
    Butterfly(v0, v4), Butterfly(v1, v5), Butterfly(v2, v6), Butterfly(v3, v7);
    hn::StoreU(v0, d, x), hn::StoreU(v1, d, x + h), hn::StoreU(v2, d, x + 2 * h);
    hn::StoreU(v3, d, x + 3 * h), hn::StoreU(v4, d, x + 4 * h), hn::StoreU(v5, d, x + 5 * h);
    hn::StoreU(v6, d, x + 6 * h), hn::StoreU(v7, d, x + 7 * h);
  }
}
#endif

void HadamardAll(float* data, size_t n) {
#if HWY_TARGET == HWY_SCALAR
  constexpr size_t kFirst = 0;
#else
  const size_t kFirst = 8 * hn::Lanes(Floats());
#endif
  if (kFirst == 0 || n < kFirst) {
    for (size_t h = 1; h < n; h *= 2) HadamardBy2(data, n, h);
    return;
  }
#if HWY_TARGET != HWY_SCALAR
  // Everything that fits the first cache before the strides that do not.
  const size_t part = std::min(n, kL1Floats);
  for (float* x = data; x < data + n; x += part) {
    HadamardFirst(x, part);
    HadamardFrom(x, part, kFirst);
  }
  HadamardFrom(data, n, part);
#endif
}

void FlipAndScaleAll(float* x, size_t n, const uint32_t* bits, float factor) {
  const size_t whole = n / 32 * 32;
  for (size_t at = 0; at < whole; at += 32) {
    const uint32_t word = bits[at / 32];
    for (uint32_t lane = 0; lane < 32; ++lane) {
      const uint32_t sign = ((word >> lane) & 1) << 31;
      x[at + lane] = std::bit_cast<float>(std::bit_cast<uint32_t>(x[at + lane] * factor) ^ sign);
    }
  }
  for (size_t at = whole; at < n; ++at) {
    const uint32_t sign = ((bits[at / 32] >> (at % 32)) & 1) << 31;
    x[at] = std::bit_cast<float>(std::bit_cast<uint32_t>(x[at] * factor) ^ sign);
  }
}

// to[c to_stride + r] = from[r from_stride + c] for 4 x 4 numbers.
HWY_INLINE void Transpose4(const float* from, size_t from_stride, float* to, size_t to_stride) {
#if HWY_TARGET == HWY_SCALAR
  for (size_t r = 0; r < 4; ++r) {
    for (size_t c = 0; c < 4; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  }
#else
  const hn::FixedTag<float, 4> d;
  const hn::Repartition<double, decltype(d)> d2;
  const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + from_stride);
  const auto e = hn::LoadU(d, from + 2 * from_stride), f = hn::LoadU(d, from + 3 * from_stride);
  const auto ab_low = hn::BitCast(d2, hn::InterleaveLower(d, a, b));
  const auto ab_high = hn::BitCast(d2, hn::InterleaveUpper(d, a, b));
  const auto ef_low = hn::BitCast(d2, hn::InterleaveLower(d, e, f));
  const auto ef_high = hn::BitCast(d2, hn::InterleaveUpper(d, e, f));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, ab_low, ef_low)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, ab_low, ef_low)), d, to + to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, ab_high, ef_high)), d, to + 2 * to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, ab_high, ef_high)), d, to + 3 * to_stride);
#endif
}

// Tiles of 16 x 16 go through a buffer, so that every cache line of the flat vector and of the
// blocks is touched once: lines a power of two apart would evict each other otherwise.
constexpr size_t kTile = 16;

// to[c to_stride + r] = from[r from_stride + c] for rows x columns numbers, at most a tile.
HWY_INLINE void MoveTile(const float* from, size_t from_stride, size_t rows, size_t columns,
                         float* to, size_t to_stride) {
  if (rows < kTile || columns < kTile) {
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
    }
    return;
  }
  HWY_ALIGN float tile[kTile * kTile];
  for (size_t r = 0; r < kTile; r += 4) {
    for (size_t c = 0; c < kTile; c += 4) {
      Transpose4(from + r * from_stride + c, from_stride, tile + c * kTile + r, kTile);
    }
  }
  for (size_t c = 0; c < kTile; ++c) {
    std::memcpy(to + c * to_stride, tile + c * kTile, kTile * sizeof(float));
  }
}

void DealAll(const Dealing& dealing, const float* flat, size_t first, size_t count, float* out) {
  const size_t m = dealing.m, r = dealing.block_size;
  const size_t full = std::min(r, dealing.d / m);  // positions that every block has
  for (size_t p = 0; p < full; p += kTile) {
    for (size_t b = 0; b < count; b += kTile) {
      MoveTile(flat + p * m + first + b, m, std::min(kTile, full - p), std::min(kTile, count - b),
               out + b * r + p, r);
    }
  }
  for (size_t b = 0; b < count; ++b) {
    for (size_t p = full; p < r; ++p) {
      const size_t from = p * m + first + b;
      out[b * r + p] = from < dealing.d ? flat[from] : 0.0f;
    }
  }
}

void CollectAll(const Dealing& dealing, const float* blocks, size_t first, size_t count,
                float* flat) {
  const size_t m = dealing.m, r = dealing.block_size;
  const size_t full = std::min(r, dealing.d / m);
  for (size_t p = 0; p < full; p += kTile) {
    for (size_t b = 0; b < count; b += kTile) {
      MoveTile(blocks + b * r + p, r, std::min(kTile, count - b), std::min(kTile, full - p),
               flat + p * m + first + b, m);
    }
  }
  for (size_t b = 0; b < count; ++b) {
    for (size_t p = full; p < r; ++p) {
      const size_t to = p * m + first + b;
      if (to < dealing.d) flat[to] = blocks[b * r + p];
    }
  }
}

void AddAll(float* __restrict sum, const float* __restrict x, size_t n) {
  for (size_t at = 0; at < n; ++at) sum[at] += x[at];
}
void SubtractAll(float* __restrict sum, const float* __restrict x, size_t n) {
  for (size_t at = 0; at < n; ++at) sum[at] -= x[at];
}
void AddScaledAll(float* __restrict sum, const float* __restrict x, float factor, size_t n) {
  for (size_t at = 0; at < n; ++at) sum[at] += factor * x[at];
}

// Sums of up to 1024 numbers in binary32 lanes, these in binary64.
template <typename Term>
HWY_INLINE double SumLanes(size_t n, Term term) {
  double sum = 0;
  for (size_t from = 0; from < n; from += 1024) {
    const size_t end = std::min(n, from + 1024);
    float lanes[32] = {};
    size_t at = from;
    for (; at + 32 <= end; at += 32) {
      for (size_t lane = 0; lane < 32; ++lane) lanes[lane] += term(at + lane);
    }
    for (; at < end; ++at) lanes[0] += term(at);
    for (const float lane : lanes) sum += static_cast<double>(lane);
  }
  return sum;
}

double SumOfMagnitudesAll(const float* x, size_t n) {
  return SumLanes(n, [x](size_t at) HWY_ATTR { return std::fabs(x[at]); });
}
double SumOfSquaresAll(const float* x, size_t n) {
  return SumLanes(n, [x](size_t at) HWY_ATTR { return x[at] * x[at]; });
}
float DotAll(const float* a, const float* b, size_t n) {
  return static_cast<float>(SumLanes(n, [a, b](size_t at) HWY_ATTR { return a[at] * b[at]; }));
}

uint32_t LargestBits(const float* x, size_t n) {
  uint32_t largest = 0;
  for (size_t at = 0; at < n; ++at) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[at]) & 0x7FFFFFFFu);
  }
  return largest;
}
float LargestMagnitudeAll(const float* x, size_t n) {
  return std::bit_cast<float>(LargestBits(x, n));
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
    const float absmax = LargestMagnitudeAll(x + first, size);
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

void PackSignsAll(const float* x, size_t n, uint8_t* bits) {
  size_t at = 0;
#if HWY_TARGET <= HWY_AVX2
  const Floats d;
  for (; at + 8 <= n; at += 8) {
    hn::StoreMaskBits(d, hn::Lt(hn::LoadU(d, x + at), hn::Zero(d)), bits + at / 8);
  }
#endif
  for (; at < n; at += 8) {
    uint8_t byte = 0;
    for (size_t lane = 0; lane < 8 && at + lane < n; ++lane) {
      byte |= static_cast<uint8_t>((x[at + lane] < 0 ? 1 : 0) << lane);
    }
    bits[at / 8] = byte;
  }
}

void UnpackSignsAll(const uint8_t* bits, size_t n, float scale, float* out) {
  const uint32_t magnitude = std::bit_cast<uint32_t>(scale);
  size_t at = 0;
  for (; at + 32 <= n; at += 32) {
    uint32_t word;
    std::memcpy(&word, bits + at / 8, 4);
    for (uint32_t lane = 0; lane < 32; ++lane) {
      out[at + lane] = std::bit_cast<float>(magnitude | ((word >> lane) & 1) << 31);
    }
  }
  for (; at < n; ++at) {
    const uint32_t sign = (bits[at / 8] >> (at % 8)) & 1;
    out[at] = std::bit_cast<float>(magnitude | sign << 31);
  }
}

size_t IndicesAtLeastAll(const float* x, size_t n, uint32_t threshold, uint32_t base,
                         uint32_t* indices, size_t room) {
  size_t found = 0;
  const auto take = [&](size_t from, size_t end) HWY_ATTR {
    for (size_t at = from; at < end; ++at) {
      if ((std::bit_cast<uint32_t>(x[at]) & 0x7FFFFFFFu) < threshold) continue;
      if (found < room) indices[found] = base + static_cast<uint32_t>(at);
      ++found;
    }
  };
  size_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  // Four vectors at a time: most of them hold none.
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const auto least = hn::Set(di, static_cast<int32_t>(threshold));
  const size_t lanes = hn::Lanes(d);
  const auto load = [&](size_t from)
                        HWY_ATTR { return hn::BitCast(di, hn::Abs(hn::LoadU(d, x + from))); };
  for (; at + 4 * lanes <= n; at += 4 * lanes) {
    const auto low = hn::Max(load(at), load(at + lanes));
    const auto high = hn::Max(load(at + 2 * lanes), load(at + 3 * lanes));
    if (!hn::AllTrue(di, hn::Lt(hn::Max(low, high), least))) take(at, at + 4 * lanes);
  }
#endif
  take(at, n);
  return found;
}

void ToBF16All(const float* x, size_t n, uint16_t* out) {
  for (size_t at = 0; at < n; ++at) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[at]);
    out[at] = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
}

void ToF16All(const float* x, size_t n, uint16_t* out) {
  size_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<uint16_t, Floats> d16;
  const auto bias = hn::Set(di, 0xfff - 0x38000000), one = hn::Set(di, 1);
  const auto half = hn::Set(di, 0x3f000000), normal_from = hn::Set(di, 0x38800000);
  for (; at + hn::Lanes(d) <= n; at += hn::Lanes(d)) {
    const auto value = hn::LoadU(d, x + at);
    const auto magnitude = hn::BitCast(di, hn::Abs(value));
    const auto odd = hn::And(hn::ShiftRight<13>(magnitude), one);
    const auto normal = hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, bias), odd));
    // Below 2^-14: adding 1/2 leaves multiples of 2^-24.
    const auto small =
        hn::Sub(hn::BitCast(di, hn::Add(hn::Abs(value), hn::BitCast(d, half))), half);
    const auto bits = hn::IfThenElse(hn::Lt(magnitude, normal_from), small, normal);
    const auto sign = hn::ShiftLeft<15>(hn::And(hn::ShiftRight<31>(hn::BitCast(di, value)), one));
    hn::StoreU(hn::DemoteTo(d16, hn::Or(bits, sign)), d16, out + at);
  }
#endif
  for (; at < n; ++at) out[at] = F16OfFloat(x[at]);
}

bool FromBF16All(const uint16_t* x, size_t n, float* out) {
  uint32_t bad = 0;
  for (size_t at = 0; at < n; ++at) {
    const uint32_t bits = static_cast<uint32_t>(x[at]) << 16;
    bad |= (bits & 0x7f800000) == 0x7f800000 ? 1 : 0;
    out[at] = std::bit_cast<float>(bits);
  }
  return bad == 0;
}

bool FromF16All(const uint16_t* x, size_t n, float* out) {
  size_t at = 0;
  bool finite = true;
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<uint16_t, Floats> d16;
  const auto mask = hn::Set(di, 0x7fff), bias = hn::Set(di, 0x38000000);
  const auto normal_from = hn::Set(di, 0x400);
  const auto unit = hn::Set(d, 0x1p-24f);
  auto largest = hn::Zero(di);
  for (; at + hn::Lanes(d) <= n; at += hn::Lanes(d)) {
    const auto half = hn::PromoteTo(di, hn::LoadU(d16, x + at));
    const auto magnitude = hn::And(half, mask);
    largest = hn::Max(largest, magnitude);
    const auto normal = hn::Add(hn::ShiftLeft<13>(magnitude), bias);
    const auto small = hn::BitCast(di, hn::Mul(hn::ConvertTo(d, magnitude), unit));
    const auto bits = hn::IfThenElse(hn::Lt(magnitude, normal_from), small, normal);
    const auto sign = hn::ShiftLeft<16>(hn::AndNot(mask, half));
    hn::StoreU(hn::BitCast(d, hn::Or(bits, sign)), d, out + at);
  }
  finite = hn::AllTrue(di, hn::Lt(largest, hn::Set(di, 0x7c00)));
#endif
  for (; at < n; ++at) {
    finite = finite && (x[at] & 0x7c00) != 0x7c00;
    out[at] = FloatOfF16(x[at]);
  }
  return finite;
}

// Orders a[i] <= b[i].
void OrderAll(float* __restrict a, float* __restrict b, size_t n) {
  for (size_t at = 0; at < n; ++at) {
    const float low = b[at] < a[at] ? b[at] : a[at];
    const float high = b[at] < a[at] ? a[at] : b[at];
    a[at] = low;
    b[at] = high;
  }
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
HWY_EXPORT(HadamardAll);
HWY_EXPORT(FlipAndScaleAll);
HWY_EXPORT(DealAll);
HWY_EXPORT(CollectAll);
HWY_EXPORT(AddAll);
HWY_EXPORT(SubtractAll);
HWY_EXPORT(AddScaledAll);
HWY_EXPORT(SumOfMagnitudesAll);
HWY_EXPORT(SumOfSquaresAll);
HWY_EXPORT(DotAll);
HWY_EXPORT(LargestMagnitudeAll);
HWY_EXPORT(RoundOneAll);
HWY_EXPORT(RoundInBlocksAll);
HWY_EXPORT(ScaleInBlocksAll);
HWY_EXPORT(CodesWithinAll);
HWY_EXPORT(FoldCodesAll);
HWY_EXPORT(UnfoldCodesAll);
HWY_EXPORT(RoundToIntegersAll);
HWY_EXPORT(PackSignsAll);
HWY_EXPORT(UnpackSignsAll);
HWY_EXPORT(IndicesAtLeastAll);
HWY_EXPORT(ToBF16All);
HWY_EXPORT(ToF16All);
HWY_EXPORT(FromBF16All);
HWY_EXPORT(FromF16All);
HWY_EXPORT(OrderAll);
HWY_EXPORT(NearestCentroidsAll);
HWY_EXPORT(NearestCodesAll);

void Hadamard(float* data, size_t n) { HWY_DYNAMIC_DISPATCH(HadamardAll)(data, n); }
void FlipAndScale(float* x, size_t n, const uint32_t* bits, float factor) {
  HWY_DYNAMIC_DISPATCH(FlipAndScaleAll)(x, n, bits, factor);
}
void Deal(const Dealing& dealing, const float* flat, size_t first, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(DealAll)(dealing, flat, first, count, out);
}
void Collect(const Dealing& dealing, const float* blocks, size_t first, size_t count, float* flat) {
  HWY_DYNAMIC_DISPATCH(CollectAll)(dealing, blocks, first, count, flat);
}
void Add(float* sum, const float* x, size_t n) { HWY_DYNAMIC_DISPATCH(AddAll)(sum, x, n); }
void Subtract(float* sum, const float* x, size_t n) {
  HWY_DYNAMIC_DISPATCH(SubtractAll)(sum, x, n);
}
void AddScaled(float* sum, const float* x, float factor, size_t n) {
  HWY_DYNAMIC_DISPATCH(AddScaledAll)(sum, x, factor, n);
}
double SumOfMagnitudes(const float* x, size_t n) {
  return HWY_DYNAMIC_DISPATCH(SumOfMagnitudesAll)(x, n);
}
double SumOfSquares(const float* x, size_t n) {
  return HWY_DYNAMIC_DISPATCH(SumOfSquaresAll)(x, n);
}
float Dot(const float* a, const float* b, size_t n) {
  return HWY_DYNAMIC_DISPATCH(DotAll)(a, b, n);
}
float LargestMagnitude(const float* x, size_t n) {
  return HWY_DYNAMIC_DISPATCH(LargestMagnitudeAll)(x, n);
}
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
void PackSigns(const float* x, size_t n, uint8_t* bits) {
  HWY_DYNAMIC_DISPATCH(PackSignsAll)(x, n, bits);
}
void UnpackSigns(const uint8_t* bits, size_t n, float scale, float* out) {
  HWY_DYNAMIC_DISPATCH(UnpackSignsAll)(bits, n, scale, out);
}
size_t IndicesAtLeast(const float* x, size_t n, uint32_t threshold, uint32_t base,
                      uint32_t* indices, size_t room) {
  return HWY_DYNAMIC_DISPATCH(IndicesAtLeastAll)(x, n, threshold, base, indices, room);
}
void ToBF16(const float* x, size_t n, uint16_t* out) { HWY_DYNAMIC_DISPATCH(ToBF16All)(x, n, out); }
void ToF16(const float* x, size_t n, uint16_t* out) { HWY_DYNAMIC_DISPATCH(ToF16All)(x, n, out); }
bool FromBF16(const uint16_t* x, size_t n, float* out) {
  return HWY_DYNAMIC_DISPATCH(FromBF16All)(x, n, out);
}
bool FromF16(const uint16_t* x, size_t n, float* out) {
  return HWY_DYNAMIC_DISPATCH(FromF16All)(x, n, out);
}

void Order(float* a, float* b, size_t n) { HWY_DYNAMIC_DISPATCH(OrderAll)(a, b, n); }
double NearestCentroids(const CentroidGrid& grid, const float* x, size_t n, uint16_t* codes) {
  return HWY_DYNAMIC_DISPATCH(NearestCentroidsAll)(grid, x, n, codes);
}
void NearestCodes(const float* x, size_t n, float scale, int32_t limit, uint16_t* codes,
                  float* residual) {
  HWY_DYNAMIC_DISPATCH(NearestCodesAll)(x, n, scale, limit, codes, residual);
}

}  // namespace rivulet::codec_kernels
#endif
