#pragma once

#include <cstdint>

namespace rivulet::kernels {

// x[0..n) becomes exp(scale x - max(scale x)); returns the sum of the results, and through `peak`
// the maximum of scale x, so that log-sum-exp = peak + log(sum). n >= 1.
float ExpAndSum(float* x, int64_t n, float scale, float* peak);

// x[i] becomes exp(scale x[i] - shift).
void ExpShifted(float* x, int64_t n, float scale, float shift);

// dp[i] becomes scale * p[i] * (dp[i] - dot): the gradient of a softmax row.
void SoftmaxBackward(const float* p, float* dp, int64_t n, float dot, float scale);

// x[i] *= factor.
void ScaleRow(float* x, int64_t n, float factor);

// Sum of a[i] b[i], in a fixed order.
float Dot(const float* a, const float* b, int64_t n);

}  // namespace rivulet::kernels
