#include "peft/zeroth_order/estimator.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace rivulet {
namespace {

absl::StatusOr<double> FiniteLoss(const Objective& loss, uint64_t step) {
  RV_ASSIGN_OR_RETURN(const double value, loss());
  if (std::isfinite(value)) return value;
  return Refuse(absl::StatusCode::kInternal, "loss: got " + std::to_string(value) + " in step " +
                                                 std::to_string(step) + ", want a finite number");
}

double DeviationOf(std::span<const double> losses) {
  if (losses.size() < 2) return 0;
  double mean = 0, squares = 0;
  for (double loss : losses) mean += loss / static_cast<double>(losses.size());
  for (double loss : losses) squares += (loss - mean) * (loss - mean);
  return std::sqrt(squares / static_cast<double>(losses.size() - 1));
}

}  // namespace

absl::StatusOr<SlopeEstimates> MeasureSlopes(const StepDirections& directions,
                                             Difference difference, double epsilon, uint64_t step,
                                             std::span<const float> values, std::span<float> point,
                                             const Objective& loss) {
  const float width = static_cast<float>(epsilon);
  const auto loss_at = [&](int query, float scale) {
    directions.Perturb(step, query, scale, values, point);
    return FiniteLoss(loss, step);
  };
  SlopeEstimates result;
  std::vector<double> ahead;
  if (difference == Difference::kOneSided) {
    std::copy(values.begin(), values.end(), point.begin());
    RV_ASSIGN_OR_RETURN(result.loss, FiniteLoss(loss, step));
  }
  for (int query = 0; query < directions.queries(); ++query) {
    RV_ASSIGN_OR_RETURN(const double above, loss_at(query, width));
    ahead.push_back(above);
    if (difference == Difference::kOneSided) {
      result.slopes.push_back((above - result.loss) / double{width});
      continue;
    }
    RV_ASSIGN_OR_RETURN(const double below, loss_at(query, -width));
    result.slopes.push_back((above - below) / (2 * double{width}));
    result.loss += (above + below) / (2 * directions.queries());
  }
  result.spread = DeviationOf(ahead);
  return result;
}

std::vector<double> ProjectGradient(const StepDirections& directions, uint64_t step,
                                    std::span<const float> gradient) {
  std::vector<double> slopes;
  for (int query = 0; query < directions.queries(); ++query) {
    slopes.push_back(directions.Dot(step, query, gradient));
  }
  return slopes;
}

void Descend(const StepDirections& directions, uint64_t step, std::span<const double> slopes,
             double rate, std::span<float> values) {
  std::vector<float> factors;
  for (double slope : slopes) {
    factors.push_back(static_cast<float>(-rate * slope / static_cast<double>(slopes.size())));
  }
  directions.Move(step, factors, values);
}

}  // namespace rivulet
