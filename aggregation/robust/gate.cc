#include "aggregation/robust/gate.h"

#include <cmath>

#include "aggregation/robust/median_of.h"

namespace rivulet {
namespace {

std::string GotWant(const std::string& what, double got, double most) {
  return what + ": got " + std::to_string(got) + ", want at most " + std::to_string(most);
}

// Of the changes from each number to the next, around their mean.
double DeviationOfChanges(std::span<const double> losses) {
  const size_t changes = losses.size() - 1;
  const double mean = (losses.back() - losses.front()) / static_cast<double>(changes);
  double square = 0;
  for (size_t at = 0; at < changes; ++at) {
    const double away = losses[at + 1] - losses[at] - mean;
    square += away * away;
  }
  return std::sqrt(square / static_cast<double>(changes - 1));
}

void JudgeLoss(const GateSettings& settings, std::span<const double> losses, double loss,
               std::vector<std::string>& reasons) {
  if (!std::isfinite(loss)) {
    reasons.push_back("held-out loss: got " + std::to_string(loss) + ", want a finite number");
    return;
  }
  if (losses.empty()) return;
  const double last = losses.back();
  const double most = last + settings.max_rise * std::fabs(last);
  if (loss > most) reasons.push_back(GotWant("held-out loss", loss, most));
  if (losses.size() < 3 || losses.size() < static_cast<size_t>(settings.least_window) + 1) return;
  const double usual = last + std::max(settings.deviations * DeviationOfChanges(losses),
                                       settings.least_rise * std::fabs(last));
  if (loss > usual) {
    reasons.push_back(GotWant("held-out loss, by the changes of the last rounds", loss, usual));
  }
}

void JudgeStep(const GateSettings& settings, std::span<const double> steps, double step,
               std::vector<std::string>& reasons) {
  if (!std::isfinite(step) || step < 0) {
    reasons.push_back("norm of the step: got " + std::to_string(step) + ", want a finite one");
    return;
  }
  if (steps.empty() || steps.size() < static_cast<size_t>(settings.least_window)) return;
  const double median = MedianOf(steps);
  if (median > 0 && step > settings.step_ratio * median) {
    reasons.push_back(GotWant("norm of the step", step, settings.step_ratio * median));
  }
}

void Remember(std::vector<double>& numbers, double number, int window) {
  numbers.push_back(number);
  const auto most = static_cast<size_t>(std::max(window, 1));
  if (numbers.size() > most)
    numbers.erase(numbers.begin(), numbers.end() - static_cast<ptrdiff_t>(most));
}

}  // namespace

GateDecision JudgeRound(const GateSettings& settings, const GateHistory& history,
                        const GateMeasure& measure) {
  const auto window = static_cast<size_t>(std::max(settings.window, 1));
  GateDecision decision;
  decision.history = history;
  // One more loss than changes.
  JudgeLoss(settings, LastOf(history.losses, window + 1), measure.loss, decision.reasons);
  JudgeStep(settings, LastOf(history.steps, window), measure.step, decision.reasons);
  if (measure.canaries_failed > settings.canaries_allowed) {
    decision.reasons.push_back(
        GotWant("failed canary tasks", measure.canaries_failed, settings.canaries_allowed));
  }
  decision.publish = decision.reasons.empty();
  if (decision.publish) {
    Remember(decision.history.losses, measure.loss, settings.window + 1);
    Remember(decision.history.steps, measure.step, settings.window);
    decision.history.failures = 0;
  } else {
    ++decision.history.failures;
    decision.pause = decision.history.failures >= settings.failures_to_pause;
  }
  return decision;
}

}  // namespace rivulet
