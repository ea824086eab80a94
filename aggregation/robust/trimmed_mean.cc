#include "aggregation/robust/coordinate_rule.h"

namespace rivulet {
namespace {

class TrimmedMeanRule : public RuleBase {
 public:
  using RuleBase::RuleBase;

 private:
  absl::StatusOr<RobustResult> Combine(const UpdateBatch& batch) const override {
    return MeanOfMiddleValues(batch, settings().f);
  }
};

}  // namespace

RulePointer NewTrimmedMean(const RobustSettings& settings, UpdatesNeeded needed) {
  return std::make_unique<TrimmedMeanRule>("trimmed-mean", needed, settings);
}

}  // namespace rivulet
