#include "peft/zeroth_order/estimator.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace rivulet {
namespace {

absl::StatusOr<double> FiniteLoss(const Objective& loss, const std::string& where) {
  RV_ASSIGN_OR_RETURN(const double value, loss());
  if (std::isfinite(value)) return value;
  return Refuse(absl::StatusCode::kInternal,
                "loss: got " + std::to_string(value) + " " + where + ", want a finite number");
}

double DeviationOf(std::span<const double> losses) {
  if (losses.size() < 2) return 0;
  double mean = 0, squares = 0;
  for (double loss : losses) mean += loss / static_cast<double>(losses.size());
  for (double loss : losses) squares += (loss - mean) * (loss - mean);
  return std::sqrt(squares / static_cast<double>(losses.size() - 1));
}

}  // namespace

std::vector<uint64_t> IndicesOf(uint64_t step, int queries) {
  std::vector<uint64_t> indices;
  for (int query = 0; query < queries; ++query) indices.push_back(step * queries + query);
  return indices;
}

absl::StatusOr<SlopeEstimates> MeasureSlopes(const Directions& directions, Difference difference,
                                             double epsilon, std::span<const uint64_t> indices,
                                             std::span<const float> values, std::span<float> point,
                                             const Objective& loss) {
  const float width = static_cast<float>(epsilon);
  const auto loss_at = [&](uint64_t index, float scale) {
    directions.Perturb(index, scale, values, point);
    return FiniteLoss(loss, "along direction " + std::to_string(index));
  };
  const double losses = 2 * static_cast<double>(indices.size());
  SlopeEstimates result;
  std::vector<double> ahead;
  if (difference == Difference::kOneSided) {
    std::copy(values.begin(), values.end(), point.begin());
    RV_ASSIGN_OR_RETURN(result.loss, FiniteLoss(loss, "where the step begins"));
  }
  for (const uint64_t index : indices) {
    RV_ASSIGN_OR_RETURN(const double above, loss_at(index, width));
    ahead.push_back(above);
    if (difference == Difference::kOneSided) {
      result.slopes.push_back((above - result.loss) / double{width});
      continue;
    }
    RV_ASSIGN_OR_RETURN(const double below, loss_at(index, -width));
    result.slopes.push_back((above - below) / (2 * double{width}));
    result.loss += (above + below) / losses;
  }
  result.spread = DeviationOf(ahead);
  return result;
}

std::vector<double> ProjectGradient(const Directions& directions, std::span<const uint64_t> indices,
                                    std::span<const float> gradient) {
  std::vector<double> slopes;
  for (const uint64_t index : indices) slopes.push_back(directions.Dot(index, gradient));
  return slopes;
}

void MoveAlong(const Directions& directions, std::span<const uint64_t> indices,
               std::span<const double> movements, std::span<float> values) {
  const std::vector<float> factors(movements.begin(), movements.end());
  directions.Move(indices, factors, values);
}

std::vector<double> DescentOf(std::span<const double> slopes, double rate) {
  std::vector<double> movements;
  for (double slope : slopes) {
    movements.push_back(-rate * slope / static_cast<double>(slopes.size()));
  }
  return movements;
}

}  // namespace rivulet
