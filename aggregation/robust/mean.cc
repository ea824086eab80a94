#include <atomic>
#include <cmath>

#include "aggregation/robust/rule_base.h"

namespace rivulet {
namespace {

// sum a_i x_i / sum a_i, of updates that may have been clipped.
class MeanRule : public RuleBase {
 public:
  using RuleBase::RuleBase;

 private:
  absl::StatusOr<RobustResult> Combine(const UpdateBatch& batch) const override {
    RV_ASSIGN_OR_RETURN(std::vector<double> weights, WeightsOf(batch));
    double sum = 0;
    for (const double weight : weights) sum += weight;
    RobustResult result;
    result.verdicts = batch.EqualVerdicts();
    for (size_t update = 0; update < batch.n(); ++update) {
      result.verdicts[update].weight = weights[update] / sum;
    }
    // Division last: equal weights then give the same bits as a sum divided by n.
    std::atomic<bool> finite = true;
    result.mean = batch.Produce([&](const UpdatePiece& piece, double* out) {
      batch.AddCombination(weights, piece, out);
      double magnitude = 0;
      for (size_t at = 0; at < piece.count(); ++at) {
        magnitude += out[at] * 0;  // NaN when it is not finite
        out[at] /= sum;
      }
      if (std::isnan(magnitude)) finite = false;
    });
    if (!finite) return batch.NotFinite();
    return result;
  }
};

}  // namespace

RulePointer NewMean(const RobustSettings& settings, UpdatesNeeded needed) {
  return std::make_unique<MeanRule>(settings.rule == "mean" ? "mean" : "norm-bound", needed,
                                    settings);
}

}  // namespace rivulet
