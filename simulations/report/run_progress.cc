#include "simulations/report/run_progress.h"

#include <cmath>
#include <string>

#include "common/job/counted_unit.h"
#include "privacy/dp/accountant.h"

namespace rivulet {

ProgressState ProgressOf(const JobView& view) {
  ProgressState state;
  state.round = view.round;
  state.rounds = view.num_rounds;
  state.uplink_bytes = static_cast<uint64_t>(view.bytes_up);
  state.raw_bytes = static_cast<uint64_t>(view.raw_bytes_up);
  if (view.epsilon > 0) state.epsilon = FormatEpsilon(view.epsilon);
  state.waiting = view.waiting;
  state.counted = CountedUnit(view.document);
  int64_t tokens = 0, milliseconds = 0;
  for (const RoundView& round : view.rounds) {
    const std::string reported = std::to_string(round.reported.size());
    if (round.state == RoundState::kDone) {
      if (round.figures.tokens > 0) state.loss = round.figures.loss;  // else nobody says
      state.survivors = reported + "/" + std::to_string(round.cohort.size());
    }
    if (round.state == RoundState::kOpen) {
      state.clients = reported + "/" + std::to_string(round.needed) + " reported";
    }
    tokens += round.figures.tokens;
    milliseconds += round.figures.milliseconds;
  }
  if (milliseconds > 0) {
    state.per_second = static_cast<double>(tokens) * 1e3 / static_cast<double>(milliseconds);
  }
  for (const EvaluationView& evaluation : view.evaluations) {
    if (evaluation.done && evaluation.counted > 0) state.perplexity = std::exp(evaluation.loss);
  }
  return state;
}

}  // namespace rivulet
