#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "aggregation/robust/rule.h"

// Makers of the table in rule.cc, and what each rule needs. To add a rule: one .cc, one line here,
// one there.

namespace rivulet {

// times_f * f + plus updates.
struct UpdatesNeeded {
  uint64_t times_f = 0;
  uint64_t plus = 0;

  uint64_t For(uint64_t f) const { return times_f * f + plus; }
};

// Of the rules that withstand any f updates among enough of them; nullopt for the others (mean,
// norm-bound, fltrust) and for an unknown name.
std::optional<UpdatesNeeded> BreakdownOf(std::string_view rule);

using RulePointer = std::unique_ptr<RobustRule>;
RulePointer NewMean(const RobustSettings&, UpdatesNeeded);
RulePointer NewMedian(const RobustSettings&, UpdatesNeeded);
RulePointer NewTrimmedMean(const RobustSettings&, UpdatesNeeded);
RulePointer NewKrum(const RobustSettings&, UpdatesNeeded);
RulePointer NewMultiKrum(const RobustSettings&, UpdatesNeeded);
RulePointer NewBulyan(const RobustSettings&, UpdatesNeeded);
RulePointer NewGeometricMedian(const RobustSettings&, UpdatesNeeded);
RulePointer NewCentredClipping(const RobustSettings&, UpdatesNeeded);
RulePointer NewFlTrust(const RobustSettings&, UpdatesNeeded);

}  // namespace rivulet
