#include "peft/kernels/softmax.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "peft/kernels/softmax.cc"
#include "hwy/foreach_target.h"  // compiles this file once per instruction set
//
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace rivulet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;

float MaxRow(const float* x, int64_t n) {
  const Tag d;
  const int64_t lanes = hn::Lanes(d);
  float top = x[0];
  int64_t i = 0;
  if (n >= lanes) {
    auto peak = hn::LoadU(d, x);
    for (i = lanes; i + lanes <= n; i += lanes) peak = hn::Max(peak, hn::LoadU(d, x + i));
    top = hn::GetLane(hn::MaxOfLanes(d, peak));
  }
  for (; i < n; ++i) top = std::max(top, x[i]);
  return top;
}

float ExpRow(float* x, int64_t n, float scale, float shift) {
  const Tag d;
  const int64_t lanes = hn::Lanes(d);
  const auto factor = hn::Set(d, scale), minus = hn::Set(d, -shift);
  auto sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto e = hn::Exp(d, hn::MulAdd(hn::LoadU(d, x + i), factor, minus));
    hn::StoreU(e, d, x + i);
    sum = hn::Add(sum, e);
  }
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < n; ++i) {
    x[i] = std::exp(std::fma(x[i], scale, -shift));
    total += x[i];
  }
  return total;
}

float ExpAndSumRow(float* x, int64_t n, float scale, float* peak) {
  *peak = MaxRow(x, n) * scale;
  return ExpRow(x, n, scale, *peak);
}

void ExpShiftedRow(float* x, int64_t n, float scale, float shift) { ExpRow(x, n, scale, shift); }

void SoftmaxBackwardRow(const float* p, float* dp, int64_t n, float dot, float scale) {
  const Tag d;
  const int64_t lanes = hn::Lanes(d);
  const auto minus = hn::Set(d, dot), factor = hn::Set(d, scale);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto grad = hn::Sub(hn::LoadU(d, dp + i), minus);
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, p + i), grad), factor), d, dp + i);
  }
  for (; i < n; ++i) dp[i] = p[i] * (dp[i] - dot) * scale;
}

void ScaleWholeRow(float* x, int64_t n, float factor) {
  const Tag d;
  const int64_t lanes = hn::Lanes(d);
  const auto by = hn::Set(d, factor);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::Mul(hn::LoadU(d, x + i), by), d, x + i);
  for (; i < n; ++i) x[i] *= factor;
}

float DotRow(const float* a, const float* b, int64_t n) {
  const Tag d;
  const int64_t lanes = hn::Lanes(d);
  auto even = hn::Zero(d), odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), even);
    odd = hn::MulAdd(hn::LoadU(d, a + i + lanes), hn::LoadU(d, b + i + lanes), odd);
  }
  for (; i + lanes <= n; i += lanes) {
    even = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), even);
  }
  float total = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < n; ++i) total = std::fma(a[i], b[i], total);
  return total;
}

}  // namespace rivulet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rivulet::kernels {
HWY_EXPORT(ExpAndSumRow);
HWY_EXPORT(ExpShiftedRow);
HWY_EXPORT(SoftmaxBackwardRow);
HWY_EXPORT(ScaleWholeRow);
HWY_EXPORT(DotRow);

float ExpAndSum(float* x, int64_t n, float scale, float* peak) {
  return HWY_DYNAMIC_DISPATCH(ExpAndSumRow)(x, n, scale, peak);
}
void ExpShifted(float* x, int64_t n, float scale, float shift) {
  HWY_DYNAMIC_DISPATCH(ExpShiftedRow)(x, n, scale, shift);
}
void SoftmaxBackward(const float* p, float* dp, int64_t n, float dot, float scale) {
  HWY_DYNAMIC_DISPATCH(SoftmaxBackwardRow)(p, dp, n, dot, scale);
}
void ScaleRow(float* x, int64_t n, float factor) {
  HWY_DYNAMIC_DISPATCH(ScaleWholeRow)(x, n, factor);
}
float Dot(const float* a, const float* b, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(DotRow)(a, b, n);
}

}  // namespace rivulet::kernels
#endif
