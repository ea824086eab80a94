#include "aggregation/moving_average.h"

#include <cmath>
#include <span>

namespace rivulet {

void MovingAverage::Follow(const ParameterSet& state) {
  const auto share = static_cast<float>(1 - keep);
  for (size_t row = 0; row < values.size(); ++row) {
    const std::span<float> to = values.floats(row);
    const std::span<const float> now = state.floats(row);
    for (size_t i = 0; i < to.size(); ++i) to[i] = std::fma(share, now[i] - to[i], to[i]);
  }
}

}  // namespace rivulet
