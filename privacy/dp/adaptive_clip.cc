#include "privacy/dp/adaptive_clip.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "privacy/dp/mechanism.h"

namespace rivulet {
namespace {

absl::Status BadClip(const char* field, double got, const std::string& want) {
  return Refuse(absl::StatusCode::kInvalidArgument, std::string("adaptive clipping: ") + field +
                                                        ": got " + std::to_string(got) + ", want " +
                                                        want);
}

}  // namespace

absl::Status AdaptiveClip::Validate() const {
  if (!(target_quantile >= 0 && target_quantile <= 1)) {
    return BadClip("target quantile", target_quantile, "0..1");
  }
  if (!(learning_rate > 0 && learning_rate <= 10)) {
    return BadClip("learning rate", learning_rate, "above 0 and at most 10");
  }
  if (expected < 1) return BadClip("expected cohort", static_cast<double>(expected), "1 or more");
  if (!(bit_sigma >= 0) || !std::isfinite(bit_sigma)) {
    return BadClip("bit sigma", bit_sigma, "a finite number, 0 or more");
  }
  if (!(least > 0 && least <= most && std::isfinite(most))) {
    return BadClip("least clip norm", least, "above 0 and at most the largest");
  }
  return absl::OkStatus();
}

absl::StatusOr<double> AdaptiveClip::VectorNoiseMultiplier(double z) const {
  RV_RETURN_IF_ERROR(Validate());
  const double both = 2 * BitSigma();
  if (!(z > 0 && z < both)) {
    return BadClip("noise multiplier", z, "above 0 and below 2 sigma_b = " + std::to_string(both));
  }
  return 1 / std::sqrt(1 / (z * z) - 1 / (both * both));
}

double AdaptiveClip::MeanBit(double noised_sum) const {
  return 0.5 + noised_sum / static_cast<double>(expected);
}

double AdaptiveClip::Next(double clip_norm, double mean_bit) const {
  return std::clamp(clip_norm * std::exp(-learning_rate * (mean_bit - target_quantile)), least,
                    most);
}

absl::StatusOr<uint64_t> ClipBitVariance(double bit_sigma) {
  const double stddev = 2 * static_cast<double>(kBitWeight) * bit_sigma;
  if (!(bit_sigma > 0)) return BadClip("bit sigma", bit_sigma, "above 0");
  return VarianceAbove(stddev * stddev);
}

}  // namespace rivulet
