#include "aggregation/robust/coordinate_rule.h"

namespace rivulet {
namespace {

class MedianRule : public RuleBase {
 public:
  using RuleBase::RuleBase;

 private:
  absl::StatusOr<RobustResult> Combine(const UpdateBatch& batch) const override {
    return MeanOfMiddleValues(batch, (batch.n() - 1) / 2);
  }
};

}  // namespace

RulePointer NewMedian(const RobustSettings& settings, UpdatesNeeded needed) {
  return std::make_unique<MedianRule>("median", needed, settings);
}

}  // namespace rivulet
