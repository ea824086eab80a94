#include "peft/kernels/optimizer.h"

#include <cmath>

namespace rivulet::kernels {

// Plain loops: the compiler vectorises them, and a step touches these buffers once.
void AdamW(const AdamWStep& with, const float* gradient, float* w, float* m, float* v, int64_t n) {
  const double correction1 = 1.0 - std::pow(static_cast<double>(with.beta1), with.step);
  const double correction2 = 1.0 - std::pow(static_cast<double>(with.beta2), with.step);
  const float step = static_cast<float>(with.learning_rate / correction1);
  const float root = static_cast<float>(std::sqrt(correction2));
  const float keep = 1.0f - with.learning_rate * with.weight_decay;
  const float beta1 = with.beta1, beta2 = with.beta2, epsilon = with.epsilon, clip = with.clip;
  const float rest1 = 1.0f - beta1, rest2 = 1.0f - beta2;
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * clip;
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * g * g;
    const float denominator = std::sqrt(v[i]) / root + epsilon;
    w[i] = w[i] * keep - step * m[i] / denominator;
  }
}

void Sgd(const SgdStep& with, const float* gradient, float* w, float* buffer, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * with.clip + with.weight_decay * w[i];
    buffer[i] = with.first ? g : with.momentum * buffer[i] + g;
    w[i] -= with.learning_rate * buffer[i];
  }
}

double SumOfSquares(const float* x, int64_t n) {
  double lanes[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) lanes[j] += static_cast<double>(x[i + j]) * x[i + j];
  }
  for (; i < n; ++i) lanes[0] += static_cast<double>(x[i]) * x[i];
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

}  // namespace rivulet::kernels
