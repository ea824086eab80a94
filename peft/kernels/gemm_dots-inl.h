// Included once per instruction set; see hwy/foreach_target.h.
#if defined(RIVULET_PEFT_KERNELS_GEMM_DOTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RIVULET_PEFT_KERNELS_GEMM_DOTS_INL_H_
#undef RIVULET_PEFT_KERNELS_GEMM_DOTS_INL_H_
#else
#define RIVULET_PEFT_KERNELS_GEMM_DOTS_INL_H_
#endif

#include <cmath>
#include <cstdint>

#include "hwy/highway.h"
#include "peft/kernels/gemm_pack-inl.h"
#include "peft/kernels/gemm_tile-inl.h"

// One to three rows against a transposed weight, as in generation: every weight is read once, so
// nothing is packed and each result is a dot product of two contiguous runs.
HWY_BEFORE_NAMESPACE();
namespace rivulet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sum of x[i] * load(i) over whole vectors, and x[i] * scalar(i) over the rest.
template <typename Load, typename Scalar>
HWY_INLINE float DotWith(const float* x, int64_t n, Load load, Scalar scalar) {
  const Lanes d;
  Vector sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    HWY_UNROLL(4)
    for (int u = 0; u < 4; ++u) {
      const int64_t at = i + u * kLanes;
      sums[u] = hn::MulAdd(hn::LoadU(d, x + at), load(at), sums[u]);
    }
  }
  for (; i + kLanes <= n; i += kLanes) {
    sums[0] = hn::MulAdd(hn::LoadU(d, x + i), load(i), sums[0]);
  }
  const auto all = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
  float total = hn::GetLane(hn::SumOfLanes(d, all));
  for (; i < n; ++i) total = std::fma(x[i], scalar(i), total);
  return total;
}

// Row `row` of a times column `column` of b.
HWY_INLINE float DotOf(const Product& product, int64_t row, int64_t column) {
  const float* x = product.a.data + row * product.a.row_stride;
  const Lanes d;
  if (product.narrow) {
    const uint16_t* w = product.narrow + column * product.b.column_stride;
    const auto scalar = [&](int64_t i) { return FloatOfBits(uint32_t{w[i]} << 16); };
#if HWY_TARGET == HWY_SCALAR
    return DotWith(
        x, product.k, [&](int64_t i) { return hn::Set(d, scalar(i)); }, scalar);
#else
    const hn::RebindToUnsigned<Lanes> wide;
    const hn::Rebind<uint16_t, Lanes> half;
    return DotWith(
        x, product.k,
        [&](int64_t i) HWY_ATTR {
          return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(wide, hn::LoadU(half, w + i))));
        },
        scalar);
#endif
  }
  const float* w = product.b.data + column * product.b.column_stride;
  return DotWith(
      x, product.k, [&](int64_t i) HWY_ATTR { return hn::LoadU(d, w + i); },
      [&](int64_t i) { return w[i]; });
}

HWY_INLINE void GemmDots(const GemmCall& call) {
  for (int64_t row = 0; row < call.m; ++row) {
    for (int64_t column = 0; column < call.n; ++column) {
      float& c = call.c[row * call.c_stride + column];
      float sum = call.accumulate ? c : 0;
      if (call.bias) sum += call.bias[column];
      for (const Product& product : call.products) sum += DotOf(product, row, column);
      c = sum;
    }
  }
}

}  // namespace rivulet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
