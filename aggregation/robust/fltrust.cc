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
  absl::StatusOr<RobustResult> Combine(const Batch& batch) const override {
    RV_RETURN_IF_ERROR(CheckRoot(batch));
    const std::vector<double> squares = batch.SquaredNorms();
    RV_RETURN_IF_ERROR(batch.CheckNumbers(squares));
    const std::vector<double> dots = DotsWithRoot(batch);  // and the square of the root's norm
    const double root_norm = std::sqrt(dots[batch.n()]);
    if (!(root_norm > 0) || !std::isfinite(root_norm)) {
      return Refuse(absl::StatusCode::kInvalidArgument, "fltrust: got a root update of norm " +
                                                            std::to_string(root_norm) +
                                                            ", want a finite one above 0");
    }
    RobustResult result;
    result.verdicts = batch.EqualVerdicts();
    std::vector<double> weights(batch.n());
    double trust_sum = 0;
    for (size_t update = 0; update < batch.n(); ++update) {
      const double norm = std::sqrt(squares[update]);
      const double cosine = norm > 0 ? dots[update] / (norm * root_norm) : 0.0;
      const double trust = std::max(cosine, 0.0);
      result.verdicts[update].score = cosine;
      result.verdicts[update].kept = trust > 0;
      result.verdicts[update].weight = trust;
      weights[update] = trust > 0 ? trust * root_norm / norm : 0.0;
      trust_sum += trust;
    }
    if (!(trust_sum > 0)) {
      return Refuse(absl::StatusCode::kAborted,
                    "fltrust: got trust 0 for all " + std::to_string(batch.n()) +
                        " updates, want one above 0: the round is to be skipped");
    }
    for (size_t update = 0; update < batch.n(); ++update) {
      weights[update] /= trust_sum;
      result.verdicts[update].weight /= trust_sum;
    }
    result.mean = batch.Combination(weights);
    return result;
  }

  static absl::Status CheckRoot(const Batch& batch) {
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

  static std::vector<double> DotsWithRoot(const Batch& batch) {
    const size_t n = batch.n();
    return batch.Sums(n + 1, [&](const Piece& piece, double* sums) {
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
