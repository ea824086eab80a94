#include "aggregation/robust/krum_scores.h"

namespace rivulet {
namespace {

class KrumRule : public RuleBase {
 public:
  using RuleBase::RuleBase;

 private:
  absl::StatusOr<RobustResult> Combine(const UpdateBatch& batch) const override {
    return MeanOfBest(settings(), batch, 1);
  }
};

}  // namespace

RulePointer NewKrum(const RobustSettings& settings, UpdatesNeeded needed) {
  return std::make_unique<KrumRule>("krum", needed, settings);
}

}  // namespace rivulet
