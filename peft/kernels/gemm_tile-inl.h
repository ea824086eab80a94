// Included once per instruction set; see hwy/foreach_target.h.
#if defined(RIVULET_PEFT_KERNELS_GEMM_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RIVULET_PEFT_KERNELS_GEMM_TILE_INL_H_
#undef RIVULET_PEFT_KERNELS_GEMM_TILE_INL_H_
#else
#define RIVULET_PEFT_KERNELS_GEMM_TILE_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

// The innermost part of a product: a tile of the result that stays in registers.
HWY_BEFORE_NAMESPACE();
namespace rivulet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET <= HWY_AVX3
constexpr int kTileRows = 14;  // 28 accumulators of 32 registers
#else
constexpr int kTileRows = 6;  // 12 of 16
#endif
using Lanes = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Lanes>;
constexpr int64_t kLanes = HWY_MIN(HWY_LANES(float), 16);
constexpr int64_t kPanel = 2 * kLanes;  // columns of a tile

// Part of a summand's inner dimension, the right operand as rows of a panel. In a narrow slice each
// 32-bit word holds two bf16 values that are neighbours in the inner dimension, and k counts words.
struct Slice {
  const float* a;
  int64_t a_row, a_column;
  const float* b;
  int64_t b_row;
  int64_t k;
  bool narrow;
};

// sum + left * right; narrow: both products of a word, in fp32.
template <bool kNarrow>
HWY_INLINE Vector MulAddWords(Vector left, Vector right, Vector sum) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kNarrow) {
    // Highway 1.0.3 knows no target with this instruction; the caller has asked the CPU.
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(left.raw), "v"(right.raw));
    return sum;
  }
#endif
  return hn::MulAdd(left, right, sum);
}

template <bool kNarrow, int kRows, int kVectors>
HWY_INLINE void AddSlice(const Slice& slice, int64_t row, Vector (&sum)[kRows][kVectors]) {
  const Lanes d;
  const float* a = slice.a + row * slice.a_row;
  const float* b = slice.b;
  const int64_t a_row = slice.a_row, a_column = slice.a_column, b_row = slice.b_row;
  for (int64_t k = slice.k; k > 0; --k) {
    Vector right[kVectors];
    HWY_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) right[v] = hn::LoadU(d, b + v * kLanes);
    HWY_UNROLL(14)
    for (int i = 0; i < kRows; ++i) {
      const Vector left = hn::Set(d, a[i * a_row]);
      HWY_UNROLL(2)
      for (int v = 0; v < kVectors; ++v) {
        sum[i][v] = MulAddWords<kNarrow>(left, right[v], sum[i][v]);
      }
    }
    a += a_column;
    b += b_row;
  }
}

struct Destination {
  float* c;
  int64_t stride;
  int64_t columns;  // of the panel that exist
  bool accumulate;
  const float* bias;
};

template <int kRows, int kVectors>
HWY_INLINE void Tile(const Slice* slices, int count, int64_t row, const Destination& to) {
  const Lanes d;
  Vector sum[kRows][kVectors];
  HWY_UNROLL(14)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::Zero(d);
  }
  for (int s = 0; s < count; ++s) {
    if (slices[s].narrow) {
      AddSlice<true>(slices[s], row, sum);
    } else {
      AddSlice<false>(slices[s], row, sum);
    }
  }
  float* c = to.c + row * to.stride;
  if (to.columns == kVectors * kLanes) {
    HWY_UNROLL(14)
    for (int i = 0; i < kRows; ++i) {
      HWY_UNROLL(2)
      for (int v = 0; v < kVectors; ++v) {
        float* at = c + i * to.stride + v * kLanes;
        Vector out = sum[i][v];
        if (to.accumulate) out = hn::Add(out, hn::LoadU(d, at));
        if (to.bias) out = hn::Add(out, hn::LoadU(d, to.bias + v * kLanes));
        hn::StoreU(out, d, at);
      }
    }
    return;
  }
  HWY_ALIGN float spill[kRows][kVectors * kLanes];
  HWY_UNROLL(14)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) hn::Store(sum[i][v], d, spill[i] + v * kLanes);
  }
  for (int i = 0; i < kRows; ++i) {
    for (int64_t j = 0; j < to.columns; ++j) {
      float out = spill[i][j];
      if (to.accumulate) out += c[i * to.stride + j];
      if (to.bias) out += to.bias[j];
      c[i * to.stride + j] = out;
    }
  }
}

template <int kVectors>
HWY_NOINLINE void TileOf(int rows, const Slice* slices, int count, int64_t row,
                         const Destination& to) {
  switch (rows) {
#define RV_TILE(n)                               \
  case n:                                        \
    if constexpr (n <= kTileRows) {              \
      Tile<n, kVectors>(slices, count, row, to); \
    }                                            \
    break;
    RV_TILE(1)
    RV_TILE(2)
    RV_TILE(3)
    RV_TILE(4)
    RV_TILE(5)
    RV_TILE(6)
    RV_TILE(7) RV_TILE(8) RV_TILE(9) RV_TILE(10) RV_TILE(11) RV_TILE(12) RV_TILE(13) RV_TILE(14)
#undef RV_TILE
  }
}

}  // namespace rivulet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
