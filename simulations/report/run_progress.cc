#include "simulations/report/run_progress.h"

#include <cmath>
#include <vector>

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
  std::vector<RoundProgress> rounds;
  for (const RoundView& round : view.rounds) {
    rounds.push_back({round.state == RoundState::kOpen, round.state == RoundState::kDone,
                      round.reported.size(), round.cohort.size(), round.figures.loss,
                      round.figures.tokens, round.figures.milliseconds});
  }
  EnterRounds(rounds, state);
  for (const EvaluationView& evaluation : view.evaluations) {
    if (evaluation.done && evaluation.counted > 0) state.perplexity = std::exp(evaluation.loss);
  }
  return state;
}

}  // namespace rivulet
