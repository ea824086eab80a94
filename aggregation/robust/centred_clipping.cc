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
  absl::StatusOr<RobustResult> Combine(const UpdateBatch& batch) const override {
    RV_RETURN_IF_ERROR(CheckPrevious(batch.context()));
    RobustResult result;
    result.verdicts = batch.EqualVerdicts();
    Centre centre{batch.context().previous, 1.0, std::vector<double>(batch.n())};
    for (int iteration = 0; iteration < settings().iterations; ++iteration) {
      const std::vector<double> squares = batch.SquaredDistancesTo(centre);
      RV_RETURN_IF_ERROR(batch.CheckNumbers(squares));
      Step(squares, centre);
      for (size_t update = 0; update < batch.n(); ++update) {
        result.verdicts[update].score = std::sqrt(squares[update]);
      }
    }
    for (size_t update = 0; update < batch.n(); ++update) {
      result.verdicts[update].weight = centre.shares[update];
    }
    result.mean = batch.Produce(
        [&](const UpdatePiece& piece, double* out) { batch.AddCentre(centre, piece, out); });
    return result;
  }

  // With c_i = min(1, tau / distance_i) / n: z (1 - sum c) + sum c x.
  void Step(std::span<const double> squares, Centre& centre) const {
    std::vector<double> clips;
    double sum = 0;
    for (const double square : squares) {
      const double distance = std::sqrt(square);
      const double clip = distance > settings().tau ? settings().tau / distance : 1.0;
      clips.push_back(clip / static_cast<double>(squares.size()));
      sum += clips.back();
    }
    const double kept = std::max(1 - sum, 0.0);
    centre.start_share *= kept;
    for (size_t update = 0; update < clips.size(); ++update) {
      centre.shares[update] = centre.shares[update] * kept + clips[update];
    }
  }

  static absl::Status CheckPrevious(const RobustContext& context) {
    if (context.previous == nullptr) return absl::OkStatus();
    Manifest want = *context.manifest;
    for (TensorSpec& spec : want) spec.dtype = DType::kF32;
    RV_RETURN_IF_ERROR(SameManifest(context.previous->manifest(), want));
    return CheckFinite(*context.previous);
  }
};

}  // namespace

RulePointer NewCentredClipping(const RobustSettings& settings, UpdatesNeeded needed) {
  return std::make_unique<CentredClippingRule>("centred-clipping", needed, settings);
}

}  // namespace rivulet
