#include "aggregation/robust/krum_scores.h"

namespace rivulet {
namespace {

class MultiKrumRule : public RuleBase {
 public:
  using RuleBase::RuleBase;

  absl::Status Check(size_t n) const override {
    RV_RETURN_IF_ERROR(RuleBase::Check(n));
    const size_t most = n - settings().f - 2;
    if (settings().m <= most) return absl::OkStatus();
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "multi-krum: got m = " + std::to_string(settings().m) + " of " +
                      std::to_string(n) +
                      " updates, want at most n - f - 2 = " + std::to_string(most));
  }

 private:
  absl::StatusOr<RobustResult> Combine(const UpdateBatch& batch) const override {
    const size_t most = batch.n() - settings().f - 2;
    return MeanOfBest(settings(), batch, settings().m == 0 ? most : settings().m);
  }
};

}  // namespace

RulePointer NewMultiKrum(const RobustSettings& settings, UpdatesNeeded needed) {
  return std::make_unique<MultiKrumRule>("multi-krum", needed, settings);
}

}  // namespace rivulet
