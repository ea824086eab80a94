#include <algorithm>
#include <cmath>

#include "aggregation/robust/kernels.h"
#include "aggregation/robust/rule_base.h"

namespace rivulet {
namespace {

// sum trust_i x_i |g| / |x_i| / sum trust_i, with trust_i = max(0, cos(x_i, g)) and g the update
// from data the operator trusts.
class FlTrustRule : public RuleBase {
 public:
  using RuleBase::RuleBase;

 private:
  absl::StatusOr<RobustResult> Combine(const UpdateBatch& batch) const override {
    RV_RETURN_IF_ERROR(CheckRoot(batch));
    const std::vector<double> squares = batch.SquaredNorms();
    RV_RETURN_IF_ERROR(batch.CheckNumbers(squares));
    const std::vector<double> dots = DotsWithRoot(batch);
    RobustResult result;
    RV_ASSIGN_OR_RETURN(result.verdicts, Trust(batch, squares, dots));
    std::vector<double> weights(batch.n());
    for (size_t update = 0; update < batch.n(); ++update) {
      const double share = result.verdicts[update].weight;
      if (share > 0) weights[update] = share * std::sqrt(dots[batch.n()] / squares[update]);
    }
    result.mean = batch.Produce(
        [&](const UpdatePiece& piece, double* out) { batch.AddCombination(weights, piece, out); });
    return result;
  }

  // `dots` with the root, and its own square at the end.
  static absl::StatusOr<std::vector<UpdateVerdict>> Trust(const UpdateBatch& batch,
                                                          std::span<const double> squares,
                                                          std::span<const double> dots) {
    const double root_norm = std::sqrt(dots[batch.n()]);
    if (!(root_norm > 0) || !std::isfinite(root_norm)) {
      return Refuse(absl::StatusCode::kInvalidArgument, "fltrust: got a root update of norm " +
                                                            std::to_string(root_norm) +
                                                            ", want a finite one above 0");
    }
    std::vector<UpdateVerdict> verdicts = batch.EqualVerdicts();
    double trust_sum = 0;
    for (size_t update = 0; update < batch.n(); ++update) {
      UpdateVerdict& verdict = verdicts[update];
      const double norm = std::sqrt(squares[update]);
      verdict.score = norm > 0 ? dots[update] / (norm * root_norm) : 0.0;
      verdict.kept = verdict.score > 0;
      verdict.weight = std::max(verdict.score, 0.0);
      trust_sum += verdict.weight;
    }
    if (!(trust_sum > 0)) {
      return Refuse(absl::StatusCode::kAborted,
                    "fltrust: got trust 0 for all " + std::to_string(batch.n()) +
                        " updates, want one above 0: the round is to be skipped");
    }
    for (UpdateVerdict& verdict : verdicts) verdict.weight /= trust_sum;
    return verdicts;
  }

  static absl::Status CheckRoot(const UpdateBatch& batch) {
    const UpdateView* const root = batch.context().root;
    if (root == nullptr) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "fltrust: got no root update, want one from trusted data");
    }
    const Manifest& manifest = *batch.context().manifest;
    for (size_t tensor = 0; tensor < manifest.size(); ++tensor) {
      if (root->size() == manifest.size() &&
          (*root)[tensor].size() == static_cast<size_t>(manifest[tensor].elements())) {
        continue;
      }
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "fltrust: got a root update that does not fit " + Describe(manifest[tensor]));
    }
    return absl::OkStatus();
  }

  static std::vector<double> DotsWithRoot(const UpdateBatch& batch) {
    const size_t n = batch.n();
    return batch.Sums(n + 1, [&](const UpdatePiece& piece, double* sums) {
      const double square = batch.metric(piece.tensor) * batch.metric(piece.tensor);
      const std::span<const float> root =
          (*batch.context().root)[piece.tensor].subspan(piece.begin, piece.count());
      for (size_t update = 0; update < n; ++update) {
        sums[update] += square * batch.factor(update, piece.tensor) *
                        DotOf(batch.values(update, piece), root.data());
      }
      sums[n] += square * SquaredNorm(root);
    });
  }
};

}  // namespace

RulePointer NewFlTrust(const RobustSettings& settings, UpdatesNeeded needed) {
  return std::make_unique<FlTrustRule>("fltrust", needed, settings);
}

}  // namespace rivulet
