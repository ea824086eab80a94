#include "coordinator/rounds/refusals.h"

namespace rivulet {

using secagg::Reason;

bool IsRefusal(Reason reason) {
  return reason == Reason::kPolicy || reason == Reason::kParams ||
         reason == Reason::kModelMismatch ||
         (reason >= Reason::kRosterSelf && reason <= Reason::kRosterSmall);
}

bool IsLasting(Reason reason) { return IsRefusal(reason) && reason != Reason::kRosterSmall; }

std::string AbortText(Reason reason) { return std::string(NameOf(reason)) + ": by its own word"; }

std::optional<Reason> ReasonIn(const FailureRecord& failure) {
  if (failure.code == "refused_policy") return Reason::kPolicy;
  const std::string name = failure.text.substr(0, failure.text.find(':'));
  for (uint8_t number = 1; secagg::ReasonFrom(number).has_value(); ++number) {
    if (name == NameOf(*secagg::ReasonFrom(number))) return secagg::ReasonFrom(number);
  }
  return std::nullopt;
}

bool Refuses(const FailureRecord& failure) {
  const std::optional<Reason> reason = ReasonIn(failure);
  return reason.has_value() && IsRefusal(*reason);
}

bool RefusesForGood(const FailureRecord& failure) {
  const std::optional<Reason> reason = ReasonIn(failure);
  return reason.has_value() && IsLasting(*reason);
}

std::string PredicateOf(const FailureRecord& failure) {
  if (failure.code == kExcluded) return "was excluded: " + failure.text;
  if (Refuses(failure)) return "refused: " + failure.text;
  if (failure.code == kLeftOut) return "was left out: " + failure.text;
  return "gave up: " + failure.code + ": " + failure.text;
}

}  // namespace rivulet
