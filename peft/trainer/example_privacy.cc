#include "peft/trainer/example_privacy.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "peft/kernels/optimizer.h"

namespace rivulet {
namespace {

constexpr int kBoundBits = 31;     // squares of a clipped gradient add up to less than 2^62
constexpr int kVarianceBits = 42;  // of the exact sampler
constexpr double kSlack = 1e-6;    // covers rounding of norm and product in fp64
constexpr uint32_t kWordsAtOnce = 4096;

absl::Status CheckRange(std::string_view name, double value, double least, double most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "example privacy, " + std::string(name) + ": got " + std::to_string(value) +
                    ", want " + std::to_string(least) + ".." + std::to_string(most));
}

// The smallest e with value < 2^e; very low for 0.
int BitsAbove(double value) {
  if (value <= 0) return -1000;
  int exponent;
  std::frexp(value, &exponent);
  return exponent;
}

}  // namespace

absl::Status CheckExamplePrivacy(const ExamplePrivacy& privacy) {
  RV_RETURN_IF_ERROR(CheckRange("clip norm", privacy.clip_norm, 1e-6, 1e6));
  RV_RETURN_IF_ERROR(CheckRange("noise multiplier", privacy.noise_multiplier, 0, 1e4));
  RV_RETURN_IF_ERROR(CheckRange("sample rate", privacy.sample_rate, 0, 1));
  RV_RETURN_IF_ERROR(CheckRange("steps", static_cast<double>(privacy.steps), 1, 0x1p32));
  if (privacy.sample_rate == 0) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "example privacy, sample rate: got 0, want more");
  }
  if (privacy.batch_size == 0) return absl::OkStatus();
  return CheckRange("batch size", privacy.batch_size, 1e-3, 0x1p31);
}

GradientGrid GridOf(const ExamplePrivacy& privacy) {
  const int exponent =
      std::max(BitsAbove(privacy.clip_norm) - kBoundBits,
               BitsAbove(privacy.noise_multiplier * privacy.clip_norm) - kVarianceBits / 2);
  GradientGrid grid;
  grid.step = std::ldexp(1.0, exponent);
  grid.bound = privacy.clip_norm / grid.step;
  if (privacy.noise_multiplier > 0) {
    const double deviation = privacy.noise_multiplier * grid.bound;
    grid.variance = static_cast<uint64_t>(deviation * deviation) + 1;
  }
  return grid;
}

ClippedSum::ClippedSum(const ExamplePrivacy& privacy, int64_t n)
    : clip_norm_(privacy.clip_norm), grid_(GridOf(privacy)), sums_(n) {}

void ClippedSum::Clear() { std::fill(sums_.begin(), sums_.end(), 0); }

absl::Status ClippedSum::Add(std::span<const float> gradient) {
  const double norm =
      std::sqrt(kernels::SumOfSquares(gradient.data(), static_cast<int64_t>(gradient.size())));
  if (!std::isfinite(norm)) {
    return Refuse(absl::StatusCode::kInternal, "gradient of an example: got a norm of " +
                                                   std::to_string(norm) + ", want a finite number");
  }
  const double factor = std::min(1.0, clip_norm_ * (1 - kSlack) / norm);  // 1 where norm is 0
  const double scale = factor / grid_.step;
  uint64_t squares = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const int64_t steps = static_cast<int64_t>(static_cast<double>(gradient[i]) * scale);
    sums_[i] += steps;
    squares += static_cast<uint64_t>(steps * steps);
  }
  if (squares <= static_cast<uint64_t>(grid_.bound * grid_.bound)) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInternal,
                "gradient of an example: longer than the clip norm after clipping");
}

absl::Status ClippedSum::AddNoise(GradientNoise& noise) {
  if (grid_.variance == 0) return absl::OkStatus();
  return noise.Add(grid_.variance, sums_);
}

void ClippedSum::Average(double batch_size, std::span<float> out) const {
  const double scale = grid_.step / batch_size;
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(static_cast<double>(sums_[i]) * scale);
  }
}

absl::StatusOr<std::vector<uint32_t>> PoissonSample(double rate, uint32_t n, GradientNoise& noise) {
  std::vector<uint32_t> sample;
  if (rate >= 1) {
    sample.resize(n);
    std::iota(sample.begin(), sample.end(), 0u);
    return sample;
  }
  const uint64_t below = static_cast<uint64_t>(std::ldexp(rate, 64));
  std::vector<uint64_t> words;
  for (uint32_t left = n; left > 0; left -= static_cast<uint32_t>(words.size())) {
    words.resize(std::min(left, kWordsAtOnce));
    RV_RETURN_IF_ERROR(noise.Draw(words));
    for (uint32_t i = 0; i < words.size(); ++i) {
      if (words[i] < below) sample.push_back(n - left + i);
    }
  }
  return sample;
}

}  // namespace rivulet
