#include "coordinator/rounds/round_engine.h"

#include <algorithm>
#include <utility>

#include "coordinator/rounds/selection.h"
#include "coordinator/rounds/sentences.h"

namespace rivulet {

using std::chrono::milliseconds;

RoundEngine::RoundEngine(EngineConfig config, EngineState state, milliseconds now)
    : config_(std::move(config)), state_(std::move(state)), now_(now), left_(now) {
  if (state_.phase != Phase::kWaiting) return;
  Wait();
  if (state_.wait_left) state_.deadline = std::min(state_.deadline, now_ + *state_.wait_left);
}

std::vector<Action> RoundEngine::Step(const Event& event, milliseconds now) {
  now_ = std::max(now_, now);
  Actions out;
  if (state_.phase == Phase::kEnded) return out;
  std::visit([this, &out](const auto& one) { On(one, out); }, event);
  return out;
}

// ---- who is there ----

void RoundEngine::On(const ClientConnected& event, Actions& out) {
  connected_[event.client] = event.capability;
  if (Wants(event.client, state_.round + 1, state_.attempt)) {
    out.push_back(AssignTraining{event.client, state_.round + 1, state_.attempt});
  }
  if (WantsReport(event.client, state_.round)) {
    out.push_back(AssignEvaluation{event.client, state_.round});
  }
  TryStart(out);
}

void RoundEngine::On(const ClientDisconnected& event, Actions& out) {
  if (connected_.erase(event.client) > 0) left_ = now_;
}

size_t RoundEngine::Required() const {
  const int cohort = std::max(config_.clients_per_round, config_.min_clients);
  const size_t of_cohort =
      static_cast<size_t>(std::max(cohort, 1)) + static_cast<size_t>(HasTrusted());
  if (config_.min_available <= 0) return of_cohort;
  return std::max(static_cast<size_t>(config_.min_available), FewestPresent());
}

size_t RoundEngine::FewestPresent() const {
  return static_cast<size_t>(std::max(config_.min_clients, 1)) + static_cast<size_t>(HasTrusted());
}

bool RoundEngine::TrustedIsAway() const {
  return HasTrusted() && !connected_.contains(config_.trusted);
}

bool RoundEngine::TrustedHasReported() const {
  return !HasTrusted() || state_.reported.contains(config_.trusted);
}

bool RoundEngine::ExpectedAreBack() const {
  return std::all_of(state_.expected.begin(), state_.expected.end(),
                     [this](const std::string& client) { return connected_.contains(client); });
}

std::map<std::string, uint64_t> RoundEngine::Rested() const {
  if (IsSecondPass()) {
    std::map<std::string, uint64_t> both = connected_;
    std::erase_if(both, [this](const auto& client) {
      const auto last = state_.counted.find(client.first);
      return last == state_.counted.end() || last->second != state_.round;
    });
    return both;
  }
  if (config_.separation <= 1) return connected_;
  std::map<std::string, uint64_t> rested = connected_;
  std::erase_if(rested, [this](const auto& client) {
    const auto last = state_.counted.find(client.first);
    return last != state_.counted.end() && state_.round + 1 < last->second + config_.separation;
  });
  return rested;
}

// Who refused an attempt would refuse the next one too, so it sits the round out; not where the
// round needs it, and not where more than a quarter refused the same attempt: then the fault is
// hardly theirs. A secret draw knows no such exception.
std::map<std::string, uint64_t> RoundEngine::Invitable() const {
  std::map<std::string, uint64_t> all = Rested();
  if (state_.refused.empty() || config_.draw) return all;
  std::map<uint32_t, size_t> refusals;  // by attempt
  for (const auto& [client, attempt] : state_.refused) ++refusals[attempt];
  const size_t few = std::max<size_t>(1, all.size() / 4);
  std::map<std::string, uint64_t> willing = all;
  std::erase_if(willing, [&](const auto& client) {
    const auto refused = state_.refused.find(client.first);
    return refused != state_.refused.end() && refusals[refused->second] <= few &&
           client.first != config_.trusted;
  });
  return willing.size() >= FewestPresent() ? willing : all;
}

// Later rounds wait a while for the clients of the last one, so that a restarted coordinator draws
// its cohorts from the same list as one that never stopped.
bool RoundEngine::Ready() const {
  if (!EvaluationDue() && (Rested().size() < FewestPresent() || TrustedIsAway())) return false;
  if (state_.expected.empty()) return connected_.size() >= Required() && !TrustedIsAway();
  if (connected_.empty()) return false;
  return ExpectedAreBack() || now_ >= state_.since + config_.return_grace;
}

std::vector<std::string> RoundEngine::Outstanding() const {
  std::vector<std::string> rest;
  for (const std::string& client : state_.cohort) {
    if (!state_.reported.contains(client) && !state_.failed.contains(client)) {
      rest.push_back(client);
    }
  }
  return rest;
}

bool RoundEngine::OutstandingAreGone() const {
  const std::vector<std::string> rest = Outstanding();
  return std::none_of(rest.begin(), rest.end(),
                      [this](const std::string& client) { return connected_.contains(client); });
}

// ---- waiting ----

void RoundEngine::Wait() {
  state_.phase = Phase::kWaiting;
  state_.since = now_;
  state_.deadline = now_ + config_.start_deadline;
  state_.cohort.clear();
  state_.reported.clear();
  state_.failed.clear();
}

bool RoundEngine::EvaluationDue() const {
  if (state_.evaluated || !config_.evaluates || IsSecondPass()) return false;
  if (state_.round == 0 || state_.round == config_.rounds) return true;
  return config_.evaluate_every > 0 && state_.round % config_.evaluate_every == 0;
}

void RoundEngine::TryStart(Actions& out) {
  if (state_.phase != Phase::kWaiting) return;
  if (state_.stopping) return End(EndJob::How::kStopped, "stopped by the operator", out);
  if (state_.round >= config_.rounds && !EvaluationDue()) {
    return End(EndJob::How::kFinished, "", out);
  }
  if (state_.abandoned >= config_.max_abandoned) {
    const std::string reason = "round " + std::to_string(state_.round + 1) + " was abandoned " +
                               std::to_string(state_.abandoned) +
                               " times in a row; the last attempt: " + state_.ended;
    if (IsSecondPass() && Lose(reason, out)) return;
    return End(EndJob::How::kFailed, reason, out);
  }
  if (config_.most_attempts > 0 && state_.attempt >= config_.most_attempts) {
    const std::string reason =
        "round " + std::to_string(state_.round + 1) + ": all " +
        std::to_string(config_.most_attempts) +
        " attempts that its masks allow were abandoned; the last: " + state_.ended;
    if (IsSecondPass() && Lose(reason, out)) return;
    return End(EndJob::How::kFailed, reason, out);
  }
  if (!Ready()) return;
  if (EvaluationDue()) return StartEvaluation(out);
  Open(out);
}

void RoundEngine::WaitIsOver(Actions& out) {
  if (state_.round >= config_.rounds) {  // the model is there; only its figures are not
    state_.evaluated = true;
    return TryStart(out);
  }
  const size_t enough = state_.expected.empty() ? Required() : FewestPresent();
  const std::string not_started =
      "round " + std::to_string(state_.round + 1) + " could not start: ";
  if (connected_.size() >= enough && TrustedIsAway()) {
    return End(EndJob::How::kFailed,
               not_started + TrustedText() + " was not connected after " +
                   ClockText(config_.start_deadline),
               out);
  }
  const bool tired = config_.separation > 1 && connected_.size() >= enough;
  const bool few = tired || IsSecondPass();
  const std::string what = IsSecondPass() ? "of the first pass were connected"
                           : tired ? "had sat out " + std::to_string(config_.separation - 1) +
                                         " rounds (privacy.min-separation)"
                                   : "were connected";
  const std::string reason =
      not_started + std::to_string(few ? Rested().size() : connected_.size()) + " of " +
      std::to_string(enough) + " nodes " + what + " after " + ClockText(config_.start_deadline);
  if (IsSecondPass() && Lose(reason, out)) return;
  End(EndJob::How::kFailed, reason, out);
}

// ---- an open round ----

bool RoundEngine::IsAttempt(const std::string& client, uint64_t round, uint32_t attempt) const {
  return round == state_.round + 1 && attempt == state_.attempt && state_.cohort.contains(client) &&
         !state_.reported.contains(client);
}

bool RoundEngine::Wants(const std::string& client, uint64_t round, uint32_t attempt) const {
  return state_.phase == Phase::kOpen && IsAttempt(client, round, attempt) &&
         !state_.failed.contains(client);
}

void RoundEngine::Open(Actions& out) {
  const uint64_t round = state_.round + 1;
  ++state_.attempt;
  EngineConfig choice = config_;
  if (IsSecondPass()) choice.selection = "all";
  const Cohort cohort = SelectCohort(choice, Invitable(), round, state_.attempt);
  state_.phase = Phase::kOpen;
  state_.expected.clear();
  for (const auto& [client, capability] : connected_) state_.expected.push_back(client);
  state_.cohort = {cohort.invited.begin(), cohort.invited.end()};
  state_.needed = cohort.needed;
  state_.reported.clear();
  state_.failed.clear();
  state_.since = now_;
  state_.deadline = now_ + config_.round_deadline;
  out.push_back(OpenRound{round, state_.attempt, state_.expected, cohort.invited, cohort.needed,
                          config_.round_deadline});
  for (const std::string& client : cohort.invited) {
    out.push_back(AssignTraining{client, round, state_.attempt});
  }
  if (cohort.invited.empty()) StartFreezing(out);  // the draw was nobody: a round all the same
}

void RoundEngine::On(const UpdateStored& event, Actions& out) {
  const bool takes = state_.phase == Phase::kOpen || state_.phase == Phase::kFreezing;
  if (!takes || !IsAttempt(event.client, event.round, event.attempt)) return;
  state_.reported.insert(event.client);
  state_.failed.erase(event.client);
  if (state_.phase == Phase::kOpen) CheckOpen(out);
}

void RoundEngine::On(const TaskFailed& event, Actions& out) {
  // Also of an attempt that is over: a restarted coordinator reads it so.
  if (event.refused && event.attempt > 0 && event.round == state_.round + 1) {
    state_.refused.emplace(event.client, event.attempt);
  }
  if (event.attempt == 0 && WantsReport(event.client, event.round)) {
    state_.failed[event.client] = event.why;
    CheckEvaluation(out);
  } else if (event.attempt != 0 && Wants(event.client, event.round, event.attempt)) {
    state_.failed[event.client] = event.why;
    CheckOpen(out);
  }
}

void RoundEngine::CheckOpen(Actions& out) {
  const size_t invited = state_.cohort.size();
  const size_t failed = state_.failed.size();
  const size_t minimum = Fewest();
  if (HasTrusted() && state_.failed.contains(config_.trusted)) {
    return Abandon(TrustedText() + " failed, and no other update says what to trust", out);
  }
  if (state_.reported.size() >= static_cast<size_t>(state_.needed) && TrustedHasReported()) {
    return StartFreezing(out);
  }
  // A secret draw is never repeated: whom failures leave would be in more often than q.
  const bool few =
      static_cast<double>(failed) > config_.max_failures * static_cast<double>(invited) ||
      invited - failed < minimum;
  if (few && config_.draw == nullptr) {
    return Abandon(std::to_string(failed) + " of " + std::to_string(invited) + " clients failed",
                   out);
  }
  if (state_.reported.size() + failed == invited) StartFreezing(out);
}

void RoundEngine::OpenIsOver(Actions& out) {
  const size_t minimum = Fewest();
  if (state_.reported.size() >= minimum && TrustedHasReported()) return StartFreezing(out);
  if (!TrustedHasReported()) {
    return Abandon("the deadline passed without the update of " + TrustedText(), out);
  }
  const std::string passed = "the deadline passed with " + std::to_string(state_.reported.size()) +
                             " of " + std::to_string(minimum) + " updates";
  Abandon(passed + "; missing: " + ListText(Outstanding()), out, false, passed);
}

void RoundEngine::StartFreezing(Actions& out) {
  state_.phase = Phase::kFreezing;
  out.push_back(Freeze{});
}

void RoundEngine::On(const Frozen& event, Actions& out) {
  if (state_.phase != Phase::kFreezing) return;
  state_.phase = Phase::kClosed;
  if (config_.two_passes) {  // a frozen set of an attempt that failed is in no mean
    std::erase_if(state_.counted,
                  [this](const auto& client) { return client.second == state_.round + 1; });
  }
  for (const std::string& client : state_.reported) state_.counted[client] = state_.round + 1;
  out.push_back(CloseRound{
      state_.round + 1, state_.attempt, {state_.reported.begin(), state_.reported.end()}});
  RevokeRest(state_.attempt,
             "round " + std::to_string(state_.round + 1) + " closed with " +
                 std::to_string(state_.reported.size()) + " updates",
             out);
}

void RoundEngine::RevokeRest(uint32_t attempt, const std::string& reason, Actions& out) {
  const uint64_t round = attempt == 0 ? state_.round : state_.round + 1;
  for (const std::string& client : Outstanding()) {
    out.push_back(Revoke{client, round, attempt, reason});
  }
}

// Nobody failed but clients that had refused nothing before in this round, as a restart finds it in
// the rows: who is missing when the deadline passes has none. A secret draw asks them again.
bool RoundEngine::OnlyNewRefusals() const {
  return !config_.draw && !state_.failed.empty() &&
         std::all_of(state_.failed.begin(), state_.failed.end(), [this](const auto& failed) {
           const auto refused = state_.refused.find(failed.first);
           return refused != state_.refused.end() && refused->second == state_.attempt;
         });
}

// One that excluded a client does not count, nor one that clients refused for the first time, or
// three liars, or three strict owners, one after the other would end the job: there are no more of
// either than clients. What owners allow (attempts of a round) still counts.
// What clients said of their failures is for the operator: the others are not told.
void RoundEngine::Abandon(const std::string& reason, Actions& out, bool excluded,
                          const std::string& told) {
  const uint64_t round = state_.round + 1;
  state_.ended = reason + FailuresText(state_.failed);
  out.push_back(AbandonRound{round, state_.attempt, state_.ended});
  RevokeRest(state_.attempt,
             "round " + std::to_string(round) + " abandoned: " + (told.empty() ? reason : told),
             out);
  if (!excluded && !OnlyNewRefusals()) ++state_.abandoned;
  Wait();
  TryStart(out);
}

void RoundEngine::On(const Published& event, Actions& out) {
  if (state_.phase == Phase::kClosed) NextRound(out);
}

void RoundEngine::NextRound(Actions& out) {
  ++state_.round;
  state_.attempt = 0;
  state_.abandoned = 0;
  state_.refused.clear();
  state_.evaluated = false;
  Wait();
  TryStart(out);
}

bool RoundEngine::Lose(const std::string& reason, Actions& out) {
  const bool first_pass = config_.two_passes && !IsSecondPass();
  const uint64_t last = state_.round + (first_pass ? 2 : 1);
  if (last >= config_.rounds) return false;
  out.push_back(LoseRound{state_.round + 1, state_.attempt, reason, last});
  state_.round = last - 1;
  NextRound(out);
  return true;
}

void RoundEngine::On(const WorkFailed& event, Actions& out) {
  End(EndJob::How::kFailed, event.reason, out, event.exit);
}

void RoundEngine::On(const ClientExcluded& event, Actions& out) {
  connected_.erase(event.client);
  std::erase(state_.expected, event.client);
}

void RoundEngine::On(const MaskingFailed& event, Actions& out) {
  const bool taken = state_.phase == Phase::kOpen || state_.phase == Phase::kFreezing ||
                     state_.phase == Phase::kClosed;
  if (!taken) return;
  if (event.repeatable) return Abandon(event.reason, out, event.excluded, event.told);
  if (event.excluded && Lose(event.reason, out)) return;
  const std::string reason = event.reason + FailuresText(state_.failed);
  out.push_back(AbandonRound{state_.round + 1, state_.attempt, reason});
  End(EndJob::How::kFailed,
      "round " + std::to_string(state_.round + 1) + " cannot be repeated: " + reason, out);
}

// ---- time and the operator ----

std::optional<milliseconds> RoundEngine::NextDeadline() const {
  switch (state_.phase) {
    case Phase::kWaiting: {
      const milliseconds grace = state_.since + config_.return_grace;
      const bool grace_matters = !state_.expected.empty() && now_ < grace;
      return grace_matters ? std::min(grace, state_.deadline) : state_.deadline;
    }
    case Phase::kOpen:
      return state_.deadline;
    case Phase::kEvaluating:
      return OutstandingAreGone() ? std::min(left_ + config_.return_grace, state_.deadline)
                                  : state_.deadline;
    default:
      return std::nullopt;
  }
}

void RoundEngine::On(const TimePassed& event, Actions& out) {
  if (state_.stop_now) return On(StopRequested{true}, out);  // said before a restart
  if (state_.phase == Phase::kWaiting) {
    TryStart(out);
    if (state_.phase == Phase::kWaiting && now_ >= state_.deadline) WaitIsOver(out);
  } else if (state_.phase == Phase::kOpen) {
    CheckOpen(out);
    if (state_.phase == Phase::kOpen && now_ >= state_.deadline) OpenIsOver(out);
  } else if (state_.phase == Phase::kEvaluating) {
    if (Outstanding().empty() || now_ >= *NextDeadline()) FinishEvaluation(out);
  }
}

void RoundEngine::On(const StopRequested& event, Actions& out) {
  const std::string reason = "stopped by the operator";
  state_.stopping = true;
  if (state_.phase == Phase::kWaiting) return TryStart(out);
  if (state_.phase == Phase::kEvaluating) return FinishEvaluation(out);
  const bool open = state_.phase == Phase::kOpen || state_.phase == Phase::kFreezing;
  if (!event.now || !open) return;
  out.push_back(AbandonRound{state_.round + 1, state_.attempt, reason});
  RevokeRest(state_.attempt, reason, out);
  End(EndJob::How::kStopped, reason, out);
}

size_t RoundEngine::Fewest() const { return config_.draw ? 0 : FewestPresent(); }

std::string RoundEngine::TrustedText() const {
  return "robust.trusted-client \"" + config_.trusted + "\"";
}

void RoundEngine::End(EndJob::How how, const std::string& reason, Actions& out, ExitCode exit) {
  state_.phase = Phase::kEnded;
  out.push_back(EndJob{how, reason, exit});
}

}  // namespace rivulet
