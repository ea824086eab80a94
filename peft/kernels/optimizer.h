#pragma once

#include <cstdint>

namespace rivulet::kernels {

// One step of an optimiser over flat fp32 buffers [n], in place. Element-wise, so the result does
// not depend on the instruction set's width.

struct AdamWStep {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  int64_t step;       // 1 for the first
  float clip = 1.0f;  // the gradient is multiplied by this first
};
// w <- w (1 - lr wd) - lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps).
// Source: Loshchilov and Hutter 2019, in the order of torch.optim.AdamW.
void AdamW(const AdamWStep& with, const float* gradient, float* w, float* m, float* v, int64_t n);

struct SgdStep {
  double learning_rate, momentum, weight_decay;
  bool first;  // the buffer is not read yet
  float clip = 1.0f;
};
// g <- g + wd w; b <- momentum b + g (b = g at first); w <- w - lr b. In the order of
// torch.optim.SGD, dampening 0.
void Sgd(const SgdStep& with, const float* gradient, float* w, float* buffer, int64_t n);

// Sum of squares in double, in a fixed order.
double SumOfSquares(const float* x, int64_t n);

}  // namespace rivulet::kernels
