#include <algorithm>
#include <cmath>

#include "aggregation/robust/rule_base.h"

namespace rivulet {
namespace {

// z <- z + mean_i((x_i - z) min(1, tau / |x_i - z|)), from the previous aggregate.
class CentredClippingRule : public RuleBase {
 public:
  using RuleBase::RuleBase;

 private:
  absl::StatusOr<RobustResult> Combine(const Batch& batch) const override {
    RV_ASSIGN_OR_RETURN(std::vector<double> centre, StartOf(batch));
    RobustResult result;
    result.verdicts = batch.EqualVerdicts();
    std::vector<double> shares(batch.n());
    for (int iteration = 0; iteration < settings().iterations; ++iteration) {
      const std::vector<double> squares = batch.SquaredDistancesTo(centre);
      RV_RETURN_IF_ERROR(batch.CheckNumbers(squares));
      double sum = 0;
      for (size_t update = 0; update < batch.n(); ++update) {
        const double distance = std::sqrt(squares[update]);
        const double clip = distance > settings().tau ? settings().tau / distance : 1.0;
        result.verdicts[update].score = distance;
        shares[update] = clip / static_cast<double>(batch.n());
        sum += shares[update];
      }
      batch.ForEachPiece([&](const Piece& piece) {
        double* const to = centre.data() + piece.offset;
        for (size_t at = 0; at < piece.count(); ++at) to[at] *= 1 - sum;
        batch.AddCombination(shares, piece, to);
      });
    }
    for (size_t update = 0; update < batch.n(); ++update) {
      result.verdicts[update].weight = shares[update];
    }
    result.mean = batch.Produce([&](const Piece& piece, double* out) {
      std::copy_n(centre.data() + piece.offset, piece.count(), out);
    });
    return result;
  }

  static absl::StatusOr<std::vector<double>> StartOf(const Batch& batch) {
    std::vector<double> centre(batch.dimension());
    const ParameterSet* const previous = batch.context().previous;
    if (previous == nullptr) return centre;
    Manifest want = *batch.context().manifest;
    for (TensorSpec& spec : want) spec.dtype = DType::kF32;
    RV_RETURN_IF_ERROR(SameManifest(previous->manifest(), want));
    RV_RETURN_IF_ERROR(CheckFinite(*previous));
    batch.ForEachPiece([&](const Piece& piece) {
      const std::span<const float> from = previous->floats(piece.tensor);
      std::copy_n(from.data() + piece.begin, piece.count(), centre.data() + piece.offset);
    });
    return centre;
  }
};

}  // namespace

RulePointer NewCentredClipping(const RobustSettings& settings, UpdatesNeeded needed) {
  return std::make_unique<CentredClippingRule>("centred-clipping", needed, settings);
}

}  // namespace rivulet
