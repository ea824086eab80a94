#include "aggregation/weighting.h"

#include <algorithm>
#include <bit>
#include <string>
#include <string_view>

#include "aggregation/fixed_point_sum.h"

namespace rivulet {
namespace {

constexpr int64_t kUnscaledCohort = 2048;  // of 2^20 each: just below 2^31

absl::StatusOr<int64_t> InRange(std::string_view what, int64_t count) {
  if (count >= 1 && count < FixedPointSum::kWeightLimit) return count;
  return Refuse(absl::StatusCode::kInvalidArgument,
                std::string(what) + ": got " + std::to_string(count) + ", want 1 .. 2^31 - 1");
}

absl::StatusOr<int64_t> CountOf(const StrategySection& strategy, int64_t examples, int64_t tokens) {
  if (strategy.weighting == "uniform") return 1;
  if (strategy.weighting == "examples") return InRange("examples", examples);
  if (strategy.weighting == "tokens") return InRange("tokens", tokens);
  if (strategy.weighting == "capped") {
    return InRange("tokens, capped", std::min(tokens, strategy.weight_cap));
  }
  return Refuse(absl::StatusCode::kInvalidArgument,
                "strategy.weighting: got '" + strategy.weighting +
                    "', want examples, tokens, uniform or capped");
}

}  // namespace

absl::StatusOr<int64_t> WeightOf(const StrategySection& strategy, int64_t examples, int64_t tokens,
                                 int64_t cohort) {
  RV_ASSIGN_OR_RETURN(const int64_t count, CountOf(strategy, examples, tokens));
  const int shift = std::bit_width(static_cast<uint64_t>(cohort / kUnscaledCohort));
  const int64_t most = (FixedPointSum::kWeightLimit - 1) / cohort;
  return std::min(most, std::max<int64_t>(1, count >> shift));
}

}  // namespace rivulet
