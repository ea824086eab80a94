#include "peft/zeroth_order/estimator.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace rivulet {
namespace {

std::vector<EvaluationPoint> PointsOf(Difference difference, float width,
                                      std::span<const uint64_t> indices) {
  std::vector<EvaluationPoint> points;
  if (difference == Difference::kOneSided) points.push_back({0, 0});
  for (const uint64_t index : indices) {
    points.push_back({index, width});
    if (difference == Difference::kCentral) points.push_back({index, -width});
  }
  return points;
}

absl::Status CheckFinite(double loss, const EvaluationPoint& at) {
  if (std::isfinite(loss)) return absl::OkStatus();
  const std::string where =
      at.scale == 0 ? "where the step begins" : "along direction " + std::to_string(at.index);
  return Refuse(absl::StatusCode::kInternal,
                "loss: got " + std::to_string(loss) + " " + where + ", want a finite number");
}

// Of all points, in their order.
absl::StatusOr<std::vector<double>> LossesAt(std::span<const EvaluationPoint> points,
                                             size_t together, const Objective& losses) {
  std::vector<double> all;
  for (size_t first = 0; first < points.size(); first += together) {
    const auto part = points.subspan(first, std::min(together, points.size() - first));
    RV_ASSIGN_OR_RETURN(const std::vector<double> measured, losses(part));
    for (size_t i = 0; i < part.size(); ++i) {
      RV_RETURN_IF_ERROR(CheckFinite(measured[i], part[i]));
      all.push_back(measured[i]);
    }
  }
  return all;
}

// Sum of the squares of what is left beside their mean.
double SquaresAboutMean(std::span<const double> values) {
  double mean = 0, squares = 0;
  for (double value : values) mean += value / static_cast<double>(values.size());
  for (double value : values) squares += (value - mean) * (value - mean);
  return squares;
}

double DeviationOf(std::span<const double> losses) {
  if (losses.size() < 2) return 0;
  return std::sqrt(SquaresAboutMean(losses) / static_cast<double>(losses.size() - 1));
}

}  // namespace

double PopulationDeviation(std::span<const double> values) {
  if (values.size() < 2) return 0;
  return std::sqrt(SquaresAboutMean(values) / static_cast<double>(values.size()));
}

std::vector<uint64_t> IndicesOf(uint64_t step, int queries) {
  std::vector<uint64_t> indices;
  for (int query = 0; query < queries; ++query) indices.push_back(step * queries + query);
  return indices;
}

size_t PointsOfPass(Difference difference, int batched, int queries) {
  if (batched == 0) return 1;
  const auto together = static_cast<size_t>(std::min(batched, queries));
  return difference == Difference::kCentral ? 2 * together : together + 1;
}

absl::StatusOr<SlopeEstimates> MeasureSlopes(Difference difference, double epsilon,
                                             std::span<const uint64_t> indices, size_t together,
                                             const Objective& losses) {
  const float width = static_cast<float>(epsilon);
  const bool central = difference == Difference::kCentral;
  RV_ASSIGN_OR_RETURN(const std::vector<double> measured,
                      LossesAt(PointsOf(difference, width, indices), together, losses));
  SlopeEstimates result;
  std::vector<double> ahead;
  if (!central) result.loss = measured[0];
  for (size_t query = 0; query < indices.size(); ++query) {
    const double above = measured[central ? 2 * query : query + 1];
    ahead.push_back(above);
    if (!central) {
      result.slopes.push_back((above - result.loss) / double{width});
      continue;
    }
    const double below = measured[2 * query + 1];
    result.slopes.push_back((above - below) / (2 * double{width}));
    result.loss += (above + below) / static_cast<double>(measured.size());
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

void MoveAlong(const Directions& directions, std::span<const uint64_t> indices,
               std::span<const double> movements, std::span<const std::span<float>> tensors) {
  const std::vector<float> factors(movements.begin(), movements.end());
  directions.Move(indices, factors, tensors);
}

std::vector<double> DescentOf(std::span<const double> slopes, double rate) {
  std::vector<double> movements;
  for (double slope : slopes) {
    movements.push_back(-rate * slope / static_cast<double>(slopes.size()));
  }
  return movements;
}

}  // namespace rivulet
