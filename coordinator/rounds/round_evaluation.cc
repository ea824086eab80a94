// RoundEngine: the evaluation of a published state.
#include "coordinator/rounds/round_engine.h"

namespace rivulet {

bool RoundEngine::WantsReport(const std::string& client, uint64_t round) const {
  return state_.phase == Phase::kEvaluating && round == state_.round &&
         state_.cohort.contains(client) && !state_.reported.contains(client) &&
         !state_.failed.contains(client);
}

void RoundEngine::StartEvaluation(Actions& out) {
  Wait();
  state_.phase = Phase::kEvaluating;
  state_.deadline = now_ + config_.round_deadline;
  state_.expected.clear();
  for (const auto& [client, capability] : connected_) state_.expected.push_back(client);
  state_.cohort = {state_.expected.begin(), state_.expected.end()};
  out.push_back(OpenEvaluation{state_.round, state_.expected, config_.round_deadline});
  for (const std::string& client : state_.expected) {
    out.push_back(AssignEvaluation{client, state_.round});
  }
}

void RoundEngine::On(const ReportStored& event, Actions& out) {
  if (!WantsReport(event.client, event.round)) return;
  state_.reported.insert(event.client);
  CheckEvaluation(out);
}

void RoundEngine::CheckEvaluation(Actions& out) {
  // Cheap first: this runs for every report.
  if (state_.reported.size() + state_.failed.size() < state_.cohort.size()) return;
  if (Outstanding().empty()) FinishEvaluation(out);
}

void RoundEngine::FinishEvaluation(Actions& out) {
  out.push_back(EndEvaluation{state_.round, Outstanding()});
  RevokeRest(0, "the evaluation is over", out);
  state_.evaluated = true;
  Wait();
  TryStart(out);
}

}  // namespace rivulet
