#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "aggregation/robust/batch.h"
#include "aggregation/robust/rules.h"

namespace rivulet {

// What every rule does before its own mathematics.
class RuleBase : public RobustRule {
 public:
  RuleBase(std::string_view name, UpdatesNeeded needed, const RobustSettings& settings)
      : name_(name), needed_(needed), settings_(settings) {}

  std::string_view name() const override { return name_; }

  absl::Status Check(size_t n) const override {
    const uint64_t wanted = std::max<uint64_t>(needed_.For(settings_.f), 1);
    if (n >= wanted) return absl::OkStatus();
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  std::string(name_) + ": got " + std::to_string(n) + " updates, want at least " +
                      std::to_string(wanted) + " for f = " + std::to_string(settings_.f));
  }

  absl::StatusOr<RobustResult> Aggregate(const std::vector<UpdateView>& updates,
                                         const RobustContext& context) const override {
    RV_RETURN_IF_ERROR(Check(updates.size()));
    RV_ASSIGN_OR_RETURN(const UpdateBatch batch, UpdateBatch::Make(settings_, updates, context));
    return Combine(batch);
  }

 protected:
  const RobustSettings& settings() const { return settings_; }

 private:
  // `batch` has as many updates as Check wants.
  virtual absl::StatusOr<RobustResult> Combine(const UpdateBatch& batch) const = 0;

  std::string_view name_;
  UpdatesNeeded needed_;
  RobustSettings settings_;
};

}  // namespace rivulet
