#include "peft/model/rotary.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rivulet {
namespace {

void ScaleLlama3(const RopeConfig& rope, std::vector<double>& inverse) {
  const double original = static_cast<double>(rope.original_max_position_embeddings);
  for (double& f : inverse) {
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength < original / rope.high_freq_factor) continue;
    if (wavelength > original / rope.low_freq_factor) {
      f /= rope.factor;
      continue;
    }
    const double smooth = (original / wavelength - rope.low_freq_factor) /
                          (rope.high_freq_factor - rope.low_freq_factor);
    f = (1 - smooth) * f / rope.factor + smooth * f;
  }
}

double YarnAttentionFactor(const RopeConfig& rope) {
  const auto m = [&](double by) {
    return rope.factor <= 1 ? 1.0 : 0.1 * by * std::log(rope.factor) + 1;
  };
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.mscale && rope.mscale_all_dim) return m(*rope.mscale) / m(*rope.mscale_all_dim);
  return m(1);
}

void ScaleYarn(const RopeConfig& rope, int64_t head_dim, std::vector<double>& inverse) {
  const double d = static_cast<double>(head_dim);
  const double original = static_cast<double>(rope.original_max_position_embeddings);
  const auto correction = [&](double rotations) {
    return d * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
  };
  double low = correction(rope.beta_fast), high = correction(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, d - 1);
  if (high == low) high += 0.001;  // as the reference: no division by zero
  for (size_t i = 0; i < inverse.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    inverse[i] = inverse[i] * (1 - ramp) + inverse[i] / rope.factor * ramp;
  }
}

// The base of the dynamic rule grows with the sequence beyond what the model was trained on. As in
// the reference, that is the longest sequence of the batch, and keys in a cache stay as they were
// rotated.
double ThetaOf(const ModelConfig& config, int64_t length) {
  const RopeConfig& rope = config.rope;
  if (rope.kind != RopeKind::kDynamic || length <= config.max_position_embeddings)
    return rope.theta;
  const double d = static_cast<double>(config.head_dim);
  const double stretch = rope.factor * static_cast<double>(length) /
                             static_cast<double>(config.max_position_embeddings) -
                         (rope.factor - 1);
  return rope.theta * std::pow(stretch, d / (d - 2));
}

}  // namespace

RotaryFrequencies RotaryFrequenciesOf(const ModelConfig& config, int64_t length) {
  const RopeConfig& rope = config.rope;
  const double theta = ThetaOf(config, length);
  RotaryFrequencies result;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    result.inverse.push_back(
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim)));
  }
  if (rope.kind == RopeKind::kLinear) {
    for (double& f : result.inverse) f /= rope.factor;
  } else if (rope.kind == RopeKind::kLlama3) {
    ScaleLlama3(rope, result.inverse);
  } else if (rope.kind == RopeKind::kYarn) {
    ScaleYarn(rope, config.head_dim, result.inverse);
    result.attention_factor = YarnAttentionFactor(rope);
  }
  return result;
}

RotaryTable RotaryTableOf(const ModelConfig& config, int64_t first, int64_t length, int64_t total) {
  const RotaryFrequencies frequencies = RotaryFrequenciesOf(config, total);
  const int64_t half = static_cast<int64_t>(frequencies.inverse.size());
  RotaryTable table = {at::empty({length, half}, at::kFloat),
                       at::empty({length, half}, at::kFloat)};
  float* cosine = table.cosine.data_ptr<float>();
  float* sine = table.sine.data_ptr<float>();
  for (int64_t row = 0; row < length; ++row) {
    for (int64_t i = 0; i < half; ++i, ++cosine, ++sine) {
      // The product in fp32, as the reference rounds it.
      const float angle =
          static_cast<float>(first + row) * static_cast<float>(frequencies.inverse[i]);
      *cosine =
          static_cast<float>(std::cos(static_cast<double>(angle)) * frequencies.attention_factor);
      *sine =
          static_cast<float>(std::sin(static_cast<double>(angle)) * frequencies.attention_factor);
    }
  }
  return table;
}

}  // namespace rivulet
