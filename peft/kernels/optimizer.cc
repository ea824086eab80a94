#include "peft/kernels/optimizer.h"

#include <cmath>

namespace rivulet::kernels {

// Plain loops: the compiler vectorises them, and a step touches these buffers once.
void AdamW(const AdamWStep& with, const float* gradient, float* w, float* m, float* v, int64_t n) {
  // As torch does: constants in double, rounded once; everything per element in fp32.
  const double correction1 = 1.0 - std::pow(with.beta1, with.step);
  const double correction2 = 1.0 - std::pow(with.beta2, with.step);
  const float step = static_cast<float>(with.learning_rate / correction1);
  const float root = static_cast<float>(std::sqrt(correction2));
  const float keep = static_cast<float>(1.0 - with.learning_rate * with.weight_decay);
  const float beta1 = static_cast<float>(with.beta1), beta2 = static_cast<float>(with.beta2);
  const float rest1 = static_cast<float>(1.0 - with.beta1);
  const float rest2 = static_cast<float>(1.0 - with.beta2);
  const float epsilon = static_cast<float>(with.epsilon), clip = with.clip;
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * clip;
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * g * g;
    const float denominator = std::sqrt(v[i]) / root + epsilon;
    w[i] = w[i] * keep - step * m[i] / denominator;
  }
}

void Sgd(const SgdStep& with, const float* gradient, float* w, float* buffer, int64_t n) {
  const float rate = static_cast<float>(with.learning_rate);
  const float momentum = static_cast<float>(with.momentum);
  const float decay = static_cast<float>(with.weight_decay);
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * with.clip + decay * w[i];
    buffer[i] = with.first ? g : momentum * buffer[i] + g;
    w[i] -= rate * buffer[i];
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
