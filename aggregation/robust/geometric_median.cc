#include <algorithm>
#include <cmath>

#include "aggregation/robust/rule_base.h"

namespace rivulet {
namespace {

// z = sum w x / sum w with w_i = a_i / max(nu, |x_i - z|), from the weighted mean.
class GeometricMedianRule : public RuleBase {
 public:
  using RuleBase::RuleBase;

 private:
  absl::StatusOr<RobustResult> Combine(const UpdateBatch& batch) const override {
    RV_ASSIGN_OR_RETURN(const std::vector<double> given, WeightsOf(batch));
    RV_RETURN_IF_ERROR(batch.CheckNumbers(batch.SquaredNorms()));
    RobustResult result;
    result.verdicts = batch.EqualVerdicts();
    Centre centre{.shares = Shares(given)};
    for (int iteration = 0; iteration < settings().iterations; ++iteration) {
      const std::vector<double> squares = batch.SquaredDistancesTo(centre);
      std::vector<double> weights(batch.n());
      for (size_t update = 0; update < batch.n(); ++update) {
        const double distance = std::sqrt(squares[update]);
        result.verdicts[update].score = distance;
        weights[update] = given[update] / std::max(settings().nu, distance);
      }
      centre.shares = Shares(weights);
    }
    for (size_t update = 0; update < batch.n(); ++update) {
      result.verdicts[update].weight = centre.shares[update];
    }
    result.mean = batch.Produce(
        [&](const UpdatePiece& piece, double* out) { batch.AddCentre(centre, piece, out); });
    return result;
  }

  static std::vector<double> Shares(std::vector<double> weights) {
    double sum = 0;
    for (const double weight : weights) sum += weight;
    for (double& weight : weights) weight /= sum;
    return weights;
  }
};

}  // namespace

RulePointer NewGeometricMedian(const RobustSettings& settings, UpdatesNeeded needed) {
  return std::make_unique<GeometricMedianRule>("geometric-median", needed, settings);
}

}  // namespace rivulet
