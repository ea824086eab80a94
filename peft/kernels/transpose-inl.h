// Included once per instruction set; see hwy/foreach_target.h.
#if defined(RIVULET_PEFT_KERNELS_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RIVULET_PEFT_KERNELS_TRANSPOSE_INL_H_
#undef RIVULET_PEFT_KERNELS_TRANSPOSE_INL_H_
#else
#define RIVULET_PEFT_KERNELS_TRANSPOSE_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace rivulet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Four rows of four floats become four columns.
#if HWY_TARGET != HWY_SCALAR
HWY_INLINE void Transpose4x4(const float* in, int64_t in_stride, float* out, int64_t out_stride) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> pairs;
  const auto r0 = hn::LoadU(d, in);
  const auto r1 = hn::LoadU(d, in + in_stride);
  const auto r2 = hn::LoadU(d, in + 2 * in_stride);
  const auto r3 = hn::LoadU(d, in + 3 * in_stride);
  const auto lo01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1));
  const auto hi01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
  const auto lo23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
  const auto hi23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, lo01, lo23)), d, out);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, lo01, lo23)), d, out + out_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, hi01, hi23)), d, out + 2 * out_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, hi01, hi23)), d, out + 3 * out_stride);
}

#endif

// out [columns, out_stride] = transpose of in [rows, in_stride].
HWY_INLINE void Transpose(const float* in, int64_t in_stride, int64_t rows, int64_t columns,
                          float* out, int64_t out_stride) {
#if HWY_TARGET == HWY_SCALAR
  const int64_t whole_rows = 0, whole_columns = 0;
#else
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  for (int64_t column = 0; column < whole_columns; column += 4) {
    for (int64_t row = 0; row < whole_rows; row += 4) {
      Transpose4x4(in + row * in_stride + column, in_stride, out + column * out_stride + row,
                   out_stride);
    }
  }
#endif
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = row < whole_rows ? whole_columns : 0; column < columns; ++column) {
      out[column * out_stride + row] = in[row * in_stride + column];
    }
  }
}

}  // namespace rivulet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
