// Federation: doing what the engine asks for. Each action is durable before the next one acts.
#include <algorithm>
#include <utility>

#include "common/job/validate_private.h"
#include "coordinator/rounds/federation_impl.h"
#include "coordinator/rounds/snapshots.h"

namespace rivulet {
namespace {

// Of an attempt that ends without a state of its own: its row, and its secrets gone.
template <typename Ending>  // AbandonRound, LoseRound
std::vector<Write> WritesOfEnd(const Ending& action, const std::string& job, RoundState from) {
  MoveRound end;
  end.job = job;
  end.round = action.round;
  end.attempt = action.attempt;
  end.from = from;
  end.to = RoundState::kAbandoned;
  end.reason = action.reason;
  return {end, DropSecrets{job, action.round, action.attempt}};
}

// Null before a round was published.
RoundRecord* LastDone(std::vector<RoundRecord>& rounds) {
  const auto done = std::find_if(rounds.rbegin(), rounds.rend(), [](const RoundRecord& round) {
    return round.state == RoundState::kDone;
  });
  return done == rounds.rend() ? nullptr : &*done;
}

}  // namespace

void Federation::Impl::FeedLocked(Job& job, const Event& event) {
  if (job.engine == nullptr) return;
  for (Action& action : job.engine->Step(event, Now())) job.backlog.push_back(std::move(action));
  DrainLocked(job);
}

// Performs what is waiting, in order. A full disk stops it: the next Tick goes on from there. So
// does a release that is not planned yet, or a last state that is not stored: the worker goes on.
void Federation::Impl::DrainLocked(Job& job) {
  while (job.engine != nullptr && !job.resuming) {
    if (job.backlog.empty()) {
      if (!job.masking.empty()) {
        MaskedRound::Output next = std::move(job.masking.front());
        job.masking.pop_front();
        DoMaskingLocked(job, std::move(next));
        continue;
      }
      if (!job.freezing || job.committing > 0) return;
      job.freezing = false;
      for (Action& action : job.engine->Step(Frozen{}, Now())) {
        job.backlog.push_back(std::move(action));
      }
      continue;
    }
    const Action action = job.backlog.front();
    const auto* const open = std::get_if<OpenRound>(&action);
    if (open != nullptr && !ReleaseIsPlannedLocked(job, *open)) return;
    if (std::holds_alternative<EndJob>(action) && !EndIsStoredLocked(job)) return;
    const absl::Status done =
        std::visit([&](const auto& one) { return PerformLocked(job, one); }, action);
    const bool full = done.code() == absl::StatusCode::kResourceExhausted &&
                      ExitCodeOf(done) != ExitCode::kBudget;
    if (full) return;
    if (job.engine == nullptr) return;
    job.backlog.pop_front();
    if (done.ok() || job.engine->state().phase == Phase::kEnded) continue;
    job.backlog.clear();
    const WorkFailed failed{std::string(done.message()), JobExitOf(done)};
    for (Action& next : job.engine->Step(failed, Now())) job.backlog.push_back(std::move(next));
  }
}

absl::Status Federation::Impl::PerformLocked(Job& job, const OpenRound& action) {
  RoundRecord round;
  round.job = job.record.id;
  round.round = action.round;
  round.attempt = action.attempt;
  round.eligible = action.eligible;
  round.cohort = action.cohort;
  round.needed = action.needed;
  round.remaining_ms = action.deadline.count();
  round.opened_ms = clock_.UnixMillis();
  RV_RETURN_IF_ERROR(TakePlanLocked(job));
  if (job.plan->masked) RV_RETURN_IF_ERROR(StartMaskingLocked(job, action));
  RV_RETURN_IF_ERROR(states_.Commit({PutRound{round}, SetWaiting{job.record.id}}));
  job.planning.reset();
  if (action.round == 1 && action.attempt == 1) EmitLocked(job, "job.started", 0);
  job.rounds.push_back(std::move(round));
  job.updates.clear();
  DropSumLocked(job);
  job.freezing = false;
  job.saved_remaining = Now();
  EmitLocked(job, "round.started", action.round,
             {{"attempt", int64_t{action.attempt}},
              {"clients", static_cast<int64_t>(action.cohort.size())},
              {"needed", int64_t{action.needed}}});
  return absl::OkStatus();
}

absl::Status Federation::Impl::PerformLocked(Job& job, const AssignTraining& action) {
  EmitLocked(job, "client.selected", action.round, {{"client", action.client}});
  EnqueueLocked(action.client, {job.record.id, action.round, action.attempt});
  return absl::OkStatus();
}

absl::Status Federation::Impl::PerformLocked(Job& job, const AssignEvaluation& action) {
  EnqueueLocked(action.client, {job.record.id, action.round, 0});
  return absl::OkStatus();
}

absl::Status Federation::Impl::PerformLocked(Job& job, const Revoke& action) {
  const TaskKey key{job.record.id, action.round, action.attempt};
  const auto client = clients_.find(action.client);
  if (client != clients_.end() && client->second.running == key) {
    gateway_.Cancel(action.client, key.job, key.round, key.attempt, action.reason);
  }
  EmitLocked(job, "client.dropped", action.round,
             {{"client", action.client}, {"reason", action.reason}});
  TaskOverLocked(action.client, key);
  return absl::OkStatus();
}

absl::Status Federation::Impl::PerformLocked(Job& job, const Freeze& action) {
  job.freezing = true;
  return absl::OkStatus();
}

absl::Status Federation::Impl::PerformLocked(Job& job, const CloseRound& action) {
  MoveRound close;
  close.job = job.record.id;
  close.round = action.round;
  close.attempt = action.attempt;
  close.to = RoundState::kClosed;
  close.counted = action.counted;
  if (job.masked != nullptr) return CloseMaskedLocked(job, close);
  std::vector<Write> writes = {close};
  RV_RETURN_IF_ERROR(ChargeLocked(job, close, writes));
  RV_RETURN_IF_ERROR(states_.Commit(writes));
  ChargedLocked(job);
  job.rounds.back().state = RoundState::kClosed;
  job.rounds.back().counted = action.counted;
  EndUploadsLocked(job);
  work_.push_back({job.record.id});
  work_ready_.notify_one();
  return absl::OkStatus();
}

absl::Status Federation::Impl::PerformLocked(Job& job, const AbandonRound& action) {
  RV_RETURN_IF_ERROR(states_.Commit(WritesOfEnd(action, job.record.id, job.rounds.back().state)));
  EndAttemptLocked(job, action.reason);
  EmitLocked(job, "round.abandoned", action.round,
             {{"attempt", int64_t{action.attempt}}, {"reason", action.reason}});
  return absl::OkStatus();
}

// The attempt is over and nothing was published.
void Federation::Impl::EndAttemptLocked(Job& job, const std::string& reason) {
  EndMaskingLocked(job);
  job.noise_seed.Wipe();
  job.rounds.back().state = RoundState::kAbandoned;
  job.rounds.back().reason = reason;
  job.planned.reset();  // or other jobs of its data set would count it for ever
  EndUploadsLocked(job);
  for (const UpdateRecord& update : job.updates) UnpinLocked(update.sha256);
  job.updates.clear();
  DropSumLocked(job);
  job.freezing = false;
}

absl::Status Federation::Impl::PerformLocked(Job& job, const LoseRound& action) {
  const RoundRecord& attempt = job.rounds.back();
  const bool open = attempt.round == action.round && attempt.attempt == action.attempt &&
                    attempt.state != RoundState::kAbandoned;
  ModelRecord same = job.models.rbegin()->second;
  same.parent_sha256 = same.sha256;
  if (InTwoPasses(job.plan->spec)) {  // what a first pass came to has no second any more
    same.log_sha256.clear();
    same.log_bytes = 0;
  }
  std::vector<Write> writes;
  if (open) writes = WritesOfEnd(action, job.record.id, attempt.state);
  for (same.round = action.round; same.round <= action.last; ++same.round) {
    writes.push_back(PutModel{same});
  }
  writes.push_back(SetWaiting{job.record.id});  // the next round waits as long as any
  RV_RETURN_IF_ERROR(states_.Commit(writes));
  job.saved_remaining = Now();
  if (open) EndAttemptLocked(job, action.reason);
  for (same.round = action.round; same.round <= action.last; ++same.round) {
    PinCompanionsLocked(same);
    const bool stored = IsStored(job);
    job.models[same.round] = same;
    if (stored) {
      StoredStateLocked(job, same.round);
    } else if (IsKept(*job.plan, same.round)) {
      WantStateLocked(job);
    }
    RetireParentLocked(job);
  }
  EmitLocked(job, "round.lost", action.round,
             {{"attempt", int64_t{action.attempt}},
              {"last", static_cast<int64_t>(action.last)},
              {"reason", action.reason}});
  return absl::OkStatus();
}

absl::Status Federation::Impl::PerformLocked(Job& job, const OpenEvaluation& action) {
  EvaluationRecord evaluation{job.record.id, action.round, false, action.clients,
                              action.deadline.count()};
  RV_RETURN_IF_ERROR(states_.Commit({PutEvaluation{evaluation}, SetWaiting{job.record.id}}));
  job.evaluations.push_back(std::move(evaluation));
  job.saved_remaining = Now();
  EmitLocked(job, "eval.started", action.round,
             {{"clients", static_cast<int64_t>(action.clients.size())}});
  return absl::OkStatus();
}

absl::Status Federation::Impl::PerformLocked(Job& job, const EndEvaluation& action) {
  RV_RETURN_IF_ERROR(states_.Commit({CloseEvaluation{job.record.id, action.round}}));
  job.evaluations.back().done = true;
  double loss = 0;  // of whole numbers, exact below 2^53; more clients than that cannot overflow it
  int64_t counted = 0, correct = 0;
  for (const EvaluationReportRecord& report : job.reports) {
    if (report.round != action.round) continue;
    loss += static_cast<double>(report.loss_fixed);
    counted += report.counted;
    correct += report.correct;
  }
  const double count = static_cast<double>(std::max<int64_t>(counted, 1));
  EmitLocked(job, "eval.completed", action.round,
             {{"loss", loss * 0x1p-20 / count},
              {"accuracy", static_cast<double>(correct) / count},
              {"counted", counted},
              {"missing", static_cast<int64_t>(action.missing.size())}});
  return absl::OkStatus();
}

absl::Status Federation::Impl::PerformLocked(Job& job, const EndJob& action) {
  MoveJob end;
  end.id = job.record.id;
  end.from = job.record.state;
  const bool lost = !job.unstorable.ok() && !IsStored(job);
  end.to = lost                                   ? JobState::kFailed
           : action.how == EndJob::How::kFinished ? JobState::kFinished
           : action.how == EndJob::How::kStopped  ? JobState::kStopped
                                                  : JobState::kFailed;
  const ExitCode exit = lost ? ExitCode::kState : action.exit;
  end.exit_code = end.to == JobState::kFailed ? static_cast<int>(exit) : 0;
  end.reason = action.reason;
  if (lost && action.how != EndJob::How::kFailed)
    end.reason = std::string(job.unstorable.message());
  end.ended_ms = clock_.UnixMillis();
  std::vector<Write> writes = {end, DropSecrets{job.record.id, 0, 0}};
  if (!job.rounds.empty()) {  // which may have ended before it was published
    writes.push_back(
        DropSecrets{job.record.id, job.rounds.back().round, job.rounds.back().attempt});
  }
  RoundRecord* const last = LastDone(job.rounds);
  if (last != nullptr) {  // its row, with what clients fetched since it was published
    MoveRound same;
    same.job = job.record.id;
    same.round = last->round;
    same.attempt = last->attempt;
    same.from = same.to = RoundState::kDone;
    same.figures = last->figures;
    same.figures.bytes_down += job.bytes_down;
    writes.push_back(std::move(same));
  }
  RV_RETURN_IF_ERROR(states_.Commit(writes));
  if (last != nullptr) {
    last->figures.bytes_down += job.bytes_down;
    job.all_bytes_down += std::exchange(job.bytes_down, 0);
  }
  job.record.state = end.to;
  DropSumLocked(job);  // which may leave its state in `made`
  dropped_.push_back(std::move(job.made));
  if (made_ != nullptr && !job.models.empty() &&
      made_->sha256 == job.models.rbegin()->second.sha256) {
    dropped_.push_back(std::move(made_));
  }
  job.record.exit_code = end.exit_code;
  job.record.reason = end.reason;
  job.record.ended_ms = end.ended_ms;
  for (auto& [name, client] : clients_) {
    std::erase_if(client.queue, [&](const TaskKey& key) { return key.job == job.record.id; });
    if (!client.running || client.running->job != job.record.id) continue;
    const TaskKey key = *client.running;
    gateway_.Cancel(name, key.job, key.round, key.attempt, "the job has ended");
    TaskOverLocked(name, key);
  }
  for (const UpdateRecord& update : job.updates) UnpinLocked(update.sha256);
  job.updates.clear();
  job.stands.clear();
  DropFormerLocked(job);
  SetAverageLocked(job, std::nullopt);
  dropped_.push_back(std::move(job.averaged));
  // Where the state is lost, snapshot and log are what it may yet be made from.
  if (!job.models.empty() && !lost) UnpinCompanionsLocked(job.models.rbegin()->second);
  job.backlog.clear();
  job.planning.reset();
  job.planned.reset();
  EndMaskingLocked(job);
  for (SecretText* const seed : {&job.noise_seed, &job.run_seed, &job.cohort_seed}) seed->Wipe();
  job.engine.reset();
  dropped_.push_back(std::exchange(job.coded, nullptr));
  job.plan.reset();
  EndUploadsLocked(job);
  EmitLocked(job, LastEventTypeOf(end.to), job.models.empty() ? 0 : job.models.rbegin()->first,
             {{"reason", end.reason}, {"exit", int64_t{end.exit_code}}});
  return absl::OkStatus();
}

}  // namespace rivulet
