#include "aggregation/weighting.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "aggregation/fixed_point_sum.h"

namespace rivulet {
namespace {

absl::StatusOr<int64_t> InRange(std::string_view what, int64_t count) {
  if (count >= 1 && count < FixedPointSum::kWeightLimit) return count;
  return Refuse(absl::StatusCode::kInvalidArgument,
                std::string(what) + ": got " + std::to_string(count) + ", want 1 .. 2^31 - 1");
}

}  // namespace

absl::StatusOr<int64_t> WeightOf(const StrategySection& strategy, int64_t examples,
                                 int64_t tokens) {
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

}  // namespace rivulet
