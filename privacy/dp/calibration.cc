#include "privacy/dp/calibration.h"

#include <cmath>
#include <string>

#include "privacy/dp/rdp.h"

namespace rivulet {
namespace {

constexpr double kPrecision = 1e-4;

absl::StatusOr<Epsilon> Spent(const NoiseTarget& target, double sigma) {
  Accountant accountant(PrivacyUnit::kClient);
  RV_RETURN_IF_ERROR(accountant.Compose(PoissonGaussianEvent(target.q, {sigma}, target.steps)));
  return accountant.EpsilonAt(target.delta);
}

double RenyiSpent(const NoiseTarget& target, double sigma) {
  RdpCurve curve = RdpCurve::Zero();
  curve.Add(SampledGaussianCurve(target.q, sigma), static_cast<double>(target.steps));
  return EpsilonOf(curve, target.delta).epsilon;
}

// The smallest sigma, to kPrecision from above, at which the cheap and looser accountant is
// content.
double RenyiSigma(const NoiseTarget& target) {
  double low = kLeastCalibratedSigma, high = kMostCalibratedSigma;
  if (RenyiSpent(target, low) <= target.epsilon) return low;
  if (RenyiSpent(target, high) > target.epsilon) return high;
  while (high / low > 1 + kPrecision) {
    const double middle = std::sqrt(low * high);
    (RenyiSpent(target, middle) <= target.epsilon ? high : low) = middle;
  }
  return high;
}

}  // namespace

absl::StatusOr<CalibratedNoise> CalibrateNoise(const NoiseTarget& target) {
  if (!(target.epsilon > 0) || !std::isfinite(target.epsilon)) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "target epsilon: got " + std::to_string(target.epsilon) + ", want a finite number above 0");
  }
  CalibratedNoise best{.sigma = RenyiSigma(target)};
  RV_ASSIGN_OR_RETURN(best.verified, Spent(target, best.sigma));
  if (best.verified.pld > target.epsilon) {
    return Refuse(absl::StatusCode::kOutOfRange,
                  "target epsilon: got " + std::to_string(target.epsilon) +
                      ", want one that a noise multiplier of 1000 reaches (" +
                      FormatEpsilon(best.verified.pld) + ")");
  }
  double low = best.sigma;  // walks down until it fails
  while (low > kLeastCalibratedSigma) {
    low = std::max(kLeastCalibratedSigma, low * 0.9);
    RV_ASSIGN_OR_RETURN(const Epsilon spent, Spent(target, low));
    if (spent.pld > target.epsilon) break;
    best = {.sigma = low, .verified = spent};
  }
  while (best.sigma > kLeastCalibratedSigma && best.sigma / low > 1 + kPrecision) {
    const double middle = std::sqrt(low * best.sigma);
    RV_ASSIGN_OR_RETURN(const Epsilon spent, Spent(target, middle));
    if (spent.pld > target.epsilon) {
      low = middle;
    } else {
      best = {.sigma = middle, .verified = spent};
    }
  }
  return best;
}

}  // namespace rivulet
