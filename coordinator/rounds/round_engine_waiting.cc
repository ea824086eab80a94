// RoundEngine: what people are told that it waits for.
#include <algorithm>

#include "coordinator/rounds/round_engine.h"
#include "coordinator/rounds/sentences.h"

namespace rivulet {

using std::chrono::milliseconds;

std::string RoundEngine::Waiting(milliseconds now) const {
  const milliseconds time = std::max(state_.deadline - now, milliseconds(0));
  const std::string left = time > kNoDeadline / 2 ? "" : ", " + ClockText(time) + " left";
  const auto of = [](size_t have, size_t want) {
    return "waiting: " + std::to_string(have) + " of " + std::to_string(want);
  };
  switch (state_.phase) {
    case Phase::kWaiting:
      if (TrustedIsAway() && connected_.size() >= FewestPresent()) {
        return "waiting: " + TrustedText() + " to connect" + left;
      }
      if (state_.expected.empty()) return of(connected_.size(), Required()) + " nodes" + left;
      if ((config_.separation > 1 || IsSecondPass()) && ExpectedAreBack()) {
        return of(Rested().size(), FewestPresent()) +
               (IsSecondPass() ? " nodes of the first pass" : " nodes that may take part again") +
               left;
      }
      return of(connected_.size(), state_.expected.size()) + " nodes to return" + left;
    case Phase::kOpen:
      return of(state_.reported.size(), static_cast<size_t>(state_.needed)) + " updates" + left;
    case Phase::kEvaluating:
      return of(state_.reported.size(), state_.cohort.size()) + " evaluations" + left;
    default:
      return "";
  }
}

}  // namespace rivulet
