#include "coordinator/rounds/refusals.h"

namespace rivulet {

using secagg::Reason;

bool IsRefusal(Reason reason) {
  return reason == Reason::kPolicy || reason == Reason::kParams ||
         reason == Reason::kModelMismatch ||
         (reason >= Reason::kRosterSelf && reason <= Reason::kRosterSmall);
}

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

std::string PredicateOf(const FailureRecord& failure) {
  if (failure.code == kExcluded) return "was excluded: " + failure.text;
  if (failure.code == kLeftOut) return "was left out: " + failure.text;
  if (Refuses(failure)) return "refused: " + failure.text;
  return "gave up: " + failure.code + ": " + failure.text;
}

}  // namespace rivulet
