#include <algorithm>
#include <bit>
#include <cstring>

#include "aggregation/codec/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "aggregation/codec/rotation_kernels.cc"
#include "hwy/foreach_target.h"  // compiles this file once per instruction set
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace rivulet::codec_kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The strides within a vector are written out for four lanes and for the eight of AVX2.
using Floats = hn::CappedTag<float, HWY_TARGET <= HWY_AVX2 ? 8 : 4>;
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

}  // namespace rivulet::codec_kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rivulet::codec_kernels {

HWY_EXPORT(HadamardAll);
HWY_EXPORT(FlipAndScaleAll);
HWY_EXPORT(DealAll);
HWY_EXPORT(CollectAll);

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

}  // namespace rivulet::codec_kernels
#endif
