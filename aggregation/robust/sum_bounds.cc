#include "aggregation/robust/sum_bounds.h"

#include <cmath>
#include <string>

#include "aggregation/robust/median_of.h"

namespace rivulet {
namespace {

constexpr size_t kLeastHistory = 3;

absl::Status CheckSumBounds(const SumBounds& bounds) {
  const bool sensible = bounds.survivors >= 1 && bounds.weight_cap >= 1 &&
                        bounds.level_limit >= 1 && bounds.scale > 0 && bounds.clip > 0 &&
                        bounds.noise_coordinate >= 0 && bounds.noise_norm >= 0;
  if (sensible) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "bounds of a sum: got " + std::to_string(bounds.survivors) +
                    " survivors, W = " + std::to_string(bounds.weight_cap) + ", L = " +
                    std::to_string(bounds.level_limit) + ", s = " + std::to_string(bounds.scale) +
                    ", C = " + std::to_string(bounds.clip) + ", want all above 0");
}

}  // namespace

absl::StatusOr<SumVerdict> CheckSum(std::span<const int64_t> sum, const SumBounds& bounds,
                                    std::span<const double> history) {
  RV_RETURN_IF_ERROR(CheckSumBounds(bounds));
  const double weights =
      static_cast<double>(bounds.survivors) * static_cast<double>(bounds.weight_cap);
  const double most = weights * static_cast<double>(bounds.level_limit) + bounds.noise_coordinate;
  double square = 0;
  for (size_t at = 0; at < sum.size(); ++at) {
    const double value = static_cast<double>(sum[at]);
    if (!(std::fabs(value) <= most)) {
      return Refuse(absl::StatusCode::kOutOfRange, "sum[" + std::to_string(at) + "]: got " +
                                                       std::to_string(sum[at]) + ", want at most " +
                                                       std::to_string(most) + " in magnitude");
    }
    square += value * value;
  }
  SumVerdict verdict;
  verdict.norm = std::sqrt(square);
  const double rounding = std::sqrt(static_cast<double>(sum.size()));
  const double most_norm = weights * (bounds.scale * bounds.clip + rounding) + bounds.noise_norm;
  if (!(verdict.norm <= most_norm)) {
    return Refuse(absl::StatusCode::kOutOfRange, "norm of the sum: got " +
                                                     std::to_string(verdict.norm) +
                                                     ", want at most " + std::to_string(most_norm));
  }
  verdict.norm_of_mean = verdict.norm / (static_cast<double>(bounds.survivors) * bounds.scale);
  const std::span<const double> last = LastOf(history, kSumHistory);
  verdict.flagged =
      last.size() >= kLeastHistory && verdict.norm_of_mean > kSumHistoryRatio * MedianOf(last);
  return verdict;
}

}  // namespace rivulet
