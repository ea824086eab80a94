#include "privacy/masking/signs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace rivulet {

double SignStep(double range, size_t size) {
  return range * std::sqrt(std::numbers::pi / (2 * static_cast<double>(size)));
}

namespace {

void DrawBlock(std::span<const float> rotated, double noise, RoundingSource& rounding,
               std::span<int64_t> out) {
  std::array<uint32_t, 1024> words;
  const double unit = noise * std::numbers::sqrt2;
  for (size_t first = 0; first < rotated.size(); first += words.size()) {
    const size_t count = std::min(words.size(), rotated.size() - first);
    rounding.Fill({words.data(), count});
    for (size_t i = 0; i < count; ++i) {
      const double value = rotated[first + i];
      double positive = value > 0 ? 1 : value < 0 ? 0 : 0.5;
      if (unit > 0) positive = 0.5 * std::erfc(-value / unit);
      out[first + i] = (words[i] + 0.5) * 0x1p-32 < positive ? 1 : 0;
    }
  }
}

}  // namespace

void DrawSigns(std::span<const float> rotated, size_t block, double step, RoundingSource& rounding,
               std::span<int64_t> out) {
  const double wanted = step * step * 2 / std::numbers::pi;  // variance
  for (size_t first = 0; first < rotated.size(); first += block) {
    const std::span<const float> values = rotated.subspan(first, block);
    double squares = 0;
    for (const float value : values) squares += double{value} * value;
    const double noise = std::sqrt(std::max(0.0, wanted - squares / static_cast<double>(block)));
    DrawBlock(values, noise, rounding, out.subspan(first, block));
  }
}

}  // namespace rivulet
