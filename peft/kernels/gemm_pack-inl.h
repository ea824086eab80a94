// Included once per instruction set; see hwy/foreach_target.h.
#if defined(RIVULET_PEFT_KERNELS_GEMM_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RIVULET_PEFT_KERNELS_GEMM_PACK_INL_H_
#undef RIVULET_PEFT_KERNELS_GEMM_PACK_INL_H_
#else
#define RIVULET_PEFT_KERNELS_GEMM_PACK_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "peft/kernels/gemm_tile-inl.h"
#include "peft/kernels/transpose-inl.h"

// Copies of operands in the order in which the tile reads them.
HWY_BEFORE_NAMESPACE();
namespace rivulet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// out [k, width] = b [k0.., n0..], columns beyond `columns` zero.
HWY_INLINE void PackPanel(const Matrix& b, int64_t k0, int64_t k, int64_t n0, int64_t columns,
                          int64_t width, float* out) {
  const float* from = b.data + k0 * b.row_stride + n0 * b.column_stride;
  if (b.column_stride == 1 && columns == width) {
    const Lanes d;
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < width; j += kLanes) {
        hn::StoreU(hn::LoadU(d, from + i * b.row_stride + j), d, out + i * width + j);
      }
    }
    return;
  }
  if (columns < width) std::fill(out, out + k * width, 0.0f);
  if (b.row_stride == 1) {
    Transpose(from, b.column_stride, columns, k, out, width);
    return;
  }
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      out[i * width + j] = from[i * b.row_stride + j * b.column_stride];
    }
  }
}

HWY_INLINE uint32_t BitsOfFloat(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
HWY_INLINE float FloatOfBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// The upper half of fp32, rounded to nearest even, in the lower 16 bits. Finite values.
HWY_INLINE uint32_t RoundToBf16(float value) {
  const uint32_t bits = BitsOfFloat(value);
  return (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
}

#if HWY_TARGET != HWY_SCALAR
// Words of two values rounded to bf16, `low` in the lower halves.
HWY_INLINE Vector RoundToWords(Vector low, Vector high) {
  const Lanes d;
  const hn::RebindToUnsigned<Lanes> bits;
  const auto half = hn::Set(bits, 0x7FFFu), one = hn::Set(bits, 1u);
  const auto upper = hn::Set(bits, 0xFFFF0000u);
  const auto round = [&](Vector v) HWY_ATTR {
    const auto u = hn::BitCast(bits, v);
    return hn::Add(u, hn::Add(half, hn::And(hn::ShiftRight<16>(u), one)));
  };
  return hn::BitCast(d, hn::Or(hn::ShiftRight<16>(round(low)), hn::And(round(high), upper)));
}
#endif

// out [ceil(k / 2)] words: values 2 i (low half) and 2 i + 1 of a row, rounded to bf16.
HWY_INLINE void NarrowRow(const float* from, int64_t stride, int64_t k, float* out) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  if (stride == 1) {
    const Lanes d;
#if HWY_TARGET == HWY_AVX3
    // One instruction of the CPUs that multiply bf16, and of others no row is asked for.
    for (; i + 2 * kLanes <= k; i += 2 * kLanes) {
      const Vector low = hn::LoadU(d, from + i), high = hn::LoadU(d, from + i + kLanes);
      Vector words;
      __asm__("vcvtne2ps2bf16 %2, %1, %0" : "=v"(words.raw) : "v"(high.raw), "v"(low.raw));
      hn::StoreU(words, d, out + i / 2);
    }
#endif
    for (; i + 2 * kLanes <= k; i += 2 * kLanes) {
      Vector even, odd;
      hn::LoadInterleaved2(d, from + i, even, odd);
      hn::StoreU(RoundToWords(even, odd), d, out + i / 2);
    }
  }
#endif
  for (; i < k; i += 2) {
    const uint32_t high = i + 1 < k ? RoundToBf16(from[(i + 1) * stride]) : 0;
    out[i / 2] = FloatOfBits(RoundToBf16(from[i * stride]) | high << 16);
  }
}

// out [ceil(k / 2), width] words: rows k0 + 2 i (low half) and k0 + 2 i + 1 of a bf16 operand.
HWY_INLINE void PackWords(const Product& product, int64_t k0, int64_t k, int64_t n0,
                          int64_t columns, int64_t width, float* out) {
  const Matrix& b = product.b;
  const uint16_t* from = product.narrow + k0 * b.row_stride + n0 * b.column_stride;
  const int64_t words = (k + 1) / 2;
  if (columns < width) std::fill(out, out + words * width, 0.0f);
  if (b.row_stride == 1 && k % 2 == 0 && b.column_stride % 2 == 0 &&
      reinterpret_cast<uintptr_t>(from) % 4 == 0) {
    // Neighbours are words already.
    Transpose(reinterpret_cast<const float*>(from), b.column_stride / 2, columns, words, out,
              width);
    return;
  }
  for (int64_t i = 0; i < words; ++i) {
    const uint16_t* low = from + 2 * i * b.row_stride;
    const uint16_t* high = low + b.row_stride;
    const bool paired = 2 * i + 1 < k;
    int64_t j = 0;
#if HWY_TARGET != HWY_SCALAR
    if (b.column_stride == 1 && paired) {
      const Lanes d;
      const hn::RebindToUnsigned<Lanes> wide;
      const hn::Rebind<uint16_t, Lanes> half;
      for (; j + kLanes <= columns; j += kLanes) {
        const auto l = hn::PromoteTo(wide, hn::LoadU(half, low + j));
        const auto h = hn::PromoteTo(wide, hn::LoadU(half, high + j));
        hn::StoreU(hn::BitCast(d, hn::Or(l, hn::ShiftLeft<16>(h))), d, out + i * width + j);
      }
    }
#endif
    for (; j < columns; ++j) {
      const uint32_t upper = paired ? high[j * b.column_stride] : 0;
      out[i * width + j] = FloatOfBits(low[j * b.column_stride] | upper << 16);
    }
  }
}

// PackWords of an fp32 operand, rounded.
HWY_INLINE void PackRounded(const Matrix& b, int64_t k0, int64_t k, int64_t n0, int64_t columns,
                            int64_t width, float* out) {
  const float* from = b.data + k0 * b.row_stride + n0 * b.column_stride;
  const int64_t words = (k + 1) / 2;
  if (columns < width) std::fill(out, out + words * width, 0.0f);
  if (b.row_stride == 1) {
    constexpr int64_t kWords = 64;  // of a column at a time
    HWY_ALIGN float runs[2 * kLanes * kWords];
    for (int64_t i = 0; i < words; i += kWords) {
      const int64_t count = std::min(kWords, words - i);
      for (int64_t j = 0; j < columns; ++j) {
        NarrowRow(from + j * b.column_stride + 2 * i, 1, std::min(2 * count, k - 2 * i),
                  runs + j * kWords);
      }
      Transpose(runs, kWords, columns, count, out + i * width, width);
    }
    return;
  }
  for (int64_t i = 0; i < words; ++i) {
    const float* low = from + 2 * i * b.row_stride;
    const float* high = low + b.row_stride;
    const bool paired = 2 * i + 1 < k;
    int64_t j = 0;
#if HWY_TARGET != HWY_SCALAR
    if (b.column_stride == 1 && paired) {
      const Lanes d;
      for (; j + kLanes <= columns; j += kLanes) {
        const Vector word = RoundToWords(hn::LoadU(d, low + j), hn::LoadU(d, high + j));
        hn::StoreU(word, d, out + i * width + j);
      }
    }
#endif
    for (; j < columns; ++j) {
      const uint32_t upper = paired ? RoundToBf16(high[j * b.column_stride]) : 0;
      out[i * width + j] = FloatOfBits(RoundToBf16(low[j * b.column_stride]) | upper << 16);
    }
  }
}

// out [2 * words, width] = the low, then the high halves of in [rows, words] transposed, as fp32.
HWY_INLINE void TransposeWidened(const float* in, int64_t in_stride, int64_t rows, int64_t words,
                                 float* out, int64_t width) {
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<uint32_t, 4> bits;
  const auto upper = hn::Set(bits, 0xFFFF0000u);
  float turned[16];
  for (int64_t word = 0; word < words; word += 4) {
    for (int64_t row = 0; row < rows; row += 4) {
      Transpose4x4(in + row * in_stride + word, in_stride, turned, 4);
      HWY_UNROLL(4)
      for (int i = 0; i < 4; ++i) {
        const auto pair = hn::BitCast(bits, hn::LoadU(d, turned + 4 * i));
        float* to = out + 2 * (word + i) * width + row;
        hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(pair)), d, to);
        hn::StoreU(hn::BitCast(d, hn::And(pair, upper)), d, to + width);
      }
    }
  }
#endif
}

// PackPanel of a bf16 operand, for CPUs that do not multiply bf16.
HWY_INLINE void PackWidened(const Product& product, int64_t k0, int64_t k, int64_t n0,
                            int64_t columns, int64_t width, float* out) {
  const Matrix& b = product.b;
  if (columns < width) std::fill(out, out + k * width, 0.0f);
  const uint16_t* from = product.narrow + k0 * b.row_stride + n0 * b.column_stride;
  int64_t done = 0;  // rows
  if (HWY_TARGET != HWY_SCALAR && b.row_stride == 1 && columns % 4 == 0 &&
      b.column_stride % 2 == 0 && reinterpret_cast<uintptr_t>(from) % 4 == 0) {
    done = k / 8 * 8;
    TransposeWidened(reinterpret_cast<const float*>(from), b.column_stride / 2, columns, done / 2,
                     out, width);
  }
  for (int64_t i = done; i < k; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      out[i * width + j] =
          FloatOfBits(uint32_t{from[i * b.row_stride + j * b.column_stride]} << 16);
    }
  }
}

}  // namespace rivulet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
