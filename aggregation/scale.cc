#include "aggregation/scale.h"

#include <cmath>
#include <span>

namespace rivulet {

double DistanceOf(const ParameterSet& a, const ParameterSet* b) {
  double squares = 0;
  for (size_t row = 0; row < a.size(); ++row) {
    const std::span<const float> x = a.floats(row);
    const std::span<const float> y = b == nullptr ? std::span<const float>() : b->floats(row);
    for (size_t at = 0; at < x.size(); ++at) {
      const double difference = x[at] - (y.empty() ? 0.0 : static_cast<double>(y[at]));
      squares += difference * difference;
    }
  }
  return std::sqrt(squares);
}

void Scale(double factor, ParameterSet& update) {
  for (size_t row = 0; row < update.size(); ++row) {
    for (float& value : update.floats(row)) value = static_cast<float>(value * factor);
  }
}

}  // namespace rivulet
