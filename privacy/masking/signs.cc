#include "privacy/masking/signs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace rivulet {

double SignStep(double range, size_t size) {
  return range * std::sqrt(std::numbers::pi / (2 * static_cast<double>(size)));
}

double SignNoise(double norm, double range, size_t size) {
  return std::sqrt(std::max(0.0, range * range - norm * norm) / static_cast<double>(size));
}

void DrawSigns(std::span<const float> rotated, double noise, RoundingSource& rounding,
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

}  // namespace rivulet
