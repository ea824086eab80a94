#include "peft/kernels/dropout.h"

namespace rivulet::kernels {

void Dropout(const RandomStream& stream, uint32_t tensor, double rate, const float* x, float* y,
             int64_t n) {
  const uint32_t threshold = static_cast<uint32_t>(rate * 0x1p24);
  const float factor = static_cast<float>(1.0 / (1.0 - rate));
  for (int64_t i = 0; i < n; i += 4) {
    const PhiloxBlock block = stream.Block(static_cast<uint64_t>(i) >> 2, tensor);
    for (int64_t j = i; j < n && j < i + 4; ++j) {
      y[j] = (block.word[j - i] >> 8) < threshold ? 0.0f : x[j] * factor;
    }
  }
}

}  // namespace rivulet::kernels
