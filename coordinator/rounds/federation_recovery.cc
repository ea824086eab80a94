// Federation: going on after a restart, from the rows and blobs that are there.
#include <algorithm>
#include <utility>

#include "aggregation/scalars/scalar_replay.h"
#include "common/job/validate_private.h"
#include "coordinator/rounds/federation_impl.h"
#include "coordinator/rounds/snapshots.h"

namespace rivulet {

using std::chrono::milliseconds;

absl::Status Federation::Impl::Recover() {
  RV_ASSIGN_OR_RETURN(epoch_, states_.NextEpoch());
  RV_ASSIGN_OR_RETURN(const StoredState stored, states_.Load());
  std::unique_lock lock(mutex_);
  RV_RETURN_IF_ERROR(AdoptStoredLocked(stored));
  for (const auto& job : jobs_) {
    RV_RETURN_IF_ERROR(ResumeLocked(*job));
    RV_RETURN_IF_ERROR(ResumeMaskingLocked(*job, stored.secrets));
  }
  for (const auto& job : jobs_) ResumePlanLocked(*job);
  RV_RETURN_IF_ERROR(CollectGarbageLocked());
  SweepPartialsLocked();
  for (const auto& job : jobs_) {
    if (job->engine == nullptr) continue;
    if (job->engine->state().phase == Phase::kClosed) work_.push_back({job->record.id});
    if (IsKept(*job->plan, job->models.rbegin()->first)) WantStateLocked(*job);
    FeedLocked(*job, TimePassed{});
  }
  work_ready_.notify_one();
  return absl::OkStatus();
}

// Sorts the rows under their jobs.
absl::Status Federation::Impl::AdoptStoredLocked(const StoredState& stored) {
  for (const JobRecord& record : stored.jobs) {
    auto job = std::make_unique<Job>();
    job->record = record;
    jobs_.push_back(std::move(job));
  }
  const auto deal = [this](const auto& rows, const auto& take) {
    for (const auto& row : rows) {
      if (Job* const job = FindLocked(row.job)) take(*job, row);
    }
  };
  deal(stored.models, [](Job& job, const ModelRecord& row) { job.models[row.round] = row; });
  deal(stored.rounds, [](Job& job, const RoundRecord& row) {
    job.rounds.push_back(row);
    job.all_bytes_up += row.figures.bytes_up;
    job.all_protocol_bytes_up += row.figures.protocol_bytes_up;
    job.all_bytes_down += row.figures.bytes_down;
  });
  deal(stored.updates, [](Job& job, const UpdateRecord& row) {
    const bool served = !job.models.empty() && row.round <= job.models.rbegin()->first;
    (served ? job.previous : job.updates).push_back(row);
  });
  deal(stored.evaluations,
       [](Job& job, const EvaluationRecord& row) { job.evaluations.push_back(row); });
  deal(stored.reports,
       [](Job& job, const EvaluationReportRecord& row) { job.reports.push_back(row); });
  RV_RETURN_IF_ERROR(AdoptPrivacyLocked(stored));
  deal(stored.failures, [](Job& job, const FailureRecord& row) {
    job.failures.push_back(row);
    if (row.code == kExcluded) job.excluded.emplace(row.client, row.text);
  });
  return absl::OkStatus();
}

// Gives an unfinished job its engine. A job whose blobs are lost fails with the reason; the others
// go on. Any other trouble (a document that this version cannot read, a blob that cannot be opened
// now) is not the job's end: nothing is decided and the start is refused, with exit code 8.
absl::Status Federation::Impl::ResumeLocked(Job& job) {
  if (job.record.state >= JobState::kFinished) {
    const absl::StatusOr<JobSpec> spec = config_.reader(job.record.document);
    if (spec.ok()) DescribeLocked(job, *spec);
    job.updates.clear();
    return absl::OkStatus();
  }
  absl::StatusOr<JobPlan> plan = config_.planner(job.record.document);
  if (plan.ok()) DescribeLocked(job, plan->spec);
  absl::Status usable = plan.ok() ? CheckBlobs(job, *plan) : plan.status();
  if (usable.ok()) {
    const absl::StatusOr<uint64_t> snapshot = FindSnapshot(job, *plan);
    usable = snapshot.status();
    if (snapshot.ok()) job.snapshot = *snapshot;
  }
  if (usable.ok()) usable = CheckAverage(job, *plan);
  if (usable.ok()) usable = CheckCohortSecret(plan->spec, job.cohort_seed);
  if (usable.ok()) {
    job.document_sha256 = Sha256Hex(job.record.document);
    job.plan = std::make_shared<const JobPlan>(*std::move(plan));
    job.engine = MakeEngine(job, RebuildLocked(job));
    return absl::OkStatus();
  }
  const bool lost = plan.ok() && (usable.code() == absl::StatusCode::kNotFound ||
                                  usable.code() == absl::StatusCode::kDataLoss);
  if (!lost) return WithExit(Annotate(usable, "job " + job.record.id), ExitCode::kState);
  MoveJob end{job.record.id,
              job.record.state,
              JobState::kFailed,
              static_cast<int>(ExitCode::kState),
              std::string(usable.message()),
              clock_.UnixMillis()};
  RV_RETURN_IF_ERROR(states_.Commit({end, DropSecrets{job.record.id, 0, 0}}));
  job.record.state = end.to;
  job.record.exit_code = end.exit_code;
  job.record.reason = end.reason;
  job.record.ended_ms = end.ended_ms;
  return absl::OkStatus();
}

// The newest state that is in the store and from which the log leads to today's.
absl::StatusOr<uint64_t> Federation::Impl::FindSnapshot(const Job& job, const JobPlan& plan) const {
  if (job.models.empty()) return Refuse(absl::StatusCode::kDataLoss, "no global state is stored");
  const ModelRecord& today = job.models.rbegin()->second;
  absl::Status why;
  for (auto model = job.models.rbegin(); model != job.models.rend(); ++model) {
    if (!LeadsFrom(plan, model->second, today)) continue;
    if (KeepsAverage(plan.spec) && !IsKeptBeside(job.average, job.models, model->second)) continue;
    const absl::Status there = CheckBlob("global state", model->second.sha256, model->second.bytes);
    if (there.ok()) return model->first;
    const bool lost =
        there.code() == absl::StatusCode::kNotFound || there.code() == absl::StatusCode::kDataLoss;
    if (!lost) return there;
    if (why.ok()) why = there;
  }
  if (why.ok()) why = Refuse(absl::StatusCode::kDataLoss, "no global state is stored");
  return why;
}

// Is it there in its full size? Hashes are checked when it is read.
absl::Status Federation::Impl::CheckBlob(const std::string& what, const std::string& sha256,
                                         uint64_t bytes) const {
  const auto blob = blobs_.Open(sha256);
  if (!blob.ok()) return Annotate(blob.status(), what);
  if ((*blob)->size() == bytes) return absl::OkStatus();
  return Refuse(absl::StatusCode::kDataLoss, what + ": got " + std::to_string((*blob)->size()) +
                                                 " bytes, want " + std::to_string(bytes));
}

// What a row promises beside the state.
absl::Status Federation::Impl::CheckBlobs(const Job& job, const JobPlan& plan) const {
  if (job.models.empty()) return Refuse(absl::StatusCode::kDataLoss, "no global state is stored");
  const ModelRecord& model = job.models.rbegin()->second;
  if (!model.log_sha256.empty()) {
    RV_RETURN_IF_ERROR(CheckBlob("log of coefficients", model.log_sha256, model.log_bytes));
  }
  if (ChoosesByMovement(plan.spec) || (plan.scalars && plan.scalars->pooled())) {
    const ModelRecord& first = job.models.begin()->second;
    RV_RETURN_IF_ERROR(CheckBlob("initial state", first.sha256, first.bytes));
  }
  for (const UpdateRecord& update : job.updates) {
    RV_RETURN_IF_ERROR(CheckBlob("update of " + update.client, update.sha256, update.bytes));
  }
  return absl::OkStatus();
}

// Its row comes with a model's; lost rounds have none.
absl::Status Federation::Impl::CheckAverage(const Job& job, const JobPlan& plan) const {
  if (!job.average) return absl::OkStatus();
  const AveragedState& average = *job.average;
  std::string blob = average.sha256;
  if (!average.stored) {
    RV_ASSIGN_OR_RETURN(blob, KeptBeside(average, job.models.at(job.snapshot)));
  }
  return CheckBlob("average of the global states", blob, average.bytes);
}

// Whether an abandoned attempt is one of those in a row that end a job, as RoundEngine::Abandon
// says.
bool Federation::Impl::Counts(const Job& job, const RoundRecord& round,
                              const std::map<std::string, uint32_t>& refused) {
  bool refusals = false, others = !job.cohort_seed.empty();
  for (const FailureRecord& row : job.failures) {
    if (row.round != round.round || row.attempt != round.attempt) continue;
    if (row.code == kExcluded) return false;
    const auto first = refused.find(row.client);
    (first != refused.end() && first->second == round.attempt ? refusals : others) = true;
  }
  return others || !refusals;
}

EngineState Federation::Impl::RebuildLocked(const Job& job) const {
  EngineState state;
  state.round = job.models.rbegin()->first;
  state.stopping = job.record.state == JobState::kStopping;
  state.stop_now = job.record.stop_now;
  if (job.record.waiting_ms >= 0) state.wait_left = milliseconds(job.record.waiting_ms);
  state.since = Now();
  if (!job.rounds.empty()) state.expected = job.rounds.back().eligible;
  if (!job.evaluations.empty()) {
    const EvaluationRecord& evaluation = job.evaluations.back();
    // Of the two the later one says who was there: the evaluation of round 3 follows its training.
    const bool later = job.rounds.empty() || evaluation.round >= job.rounds.back().round;
    if (later) state.expected = evaluation.clients;
    state.evaluated = evaluation.round == state.round && evaluation.done;
    if (evaluation.round == state.round && !evaluation.done) {
      RebuildEvaluation(job, evaluation, state);
    }
  }
  std::erase_if(state.expected,
                [&](const std::string& client) { return job.excluded.contains(client); });
  for (const FailureRecord& failure : job.failures) {
    const bool of_round = failure.round == state.round + 1 && failure.attempt > 0;
    if (of_round && RefusesForGood(failure)) {
      state.refused.emplace(failure.client, failure.attempt);  // rows: the first attempt first
    }
  }
  for (const RoundRecord& round : job.rounds) {
    const bool void_pass = round.state == RoundState::kAbandoned && InTwoPasses(job.plan->spec);
    for (const std::string& client : round.counted) {
      if (!void_pass) state.counted[client] = round.round;
    }
    if (round.round != state.round + 1) continue;
    state.attempt = round.attempt;
    if (round.state == RoundState::kAbandoned && Counts(job, round, state.refused)) {
      ++state.abandoned;
    }
    if (round.state == RoundState::kAbandoned) state.ended = round.reason;
    if (round.state == RoundState::kOpen || round.state == RoundState::kClosed) {
      RebuildRound(job, round, state);
    }
  }
  return state;
}

void Federation::Impl::RebuildRound(const Job& job, const RoundRecord& round,
                                    EngineState& state) const {
  state.phase = round.state == RoundState::kOpen ? Phase::kOpen : Phase::kClosed;
  state.cohort = {round.cohort.begin(), round.cohort.end()};
  state.needed = round.needed;
  state.deadline = Now() + milliseconds(round.remaining_ms);
  for (const UpdateRecord& update : job.updates) {
    if (update.round == round.round && update.attempt == round.attempt) {
      state.reported.insert(update.client);
    }
  }
  for (const FailureRecord& failure : job.failures) {
    if (failure.round == round.round && failure.attempt == round.attempt &&
        !state.reported.contains(failure.client)) {
      state.failed[failure.client] = PredicateOf(failure);
    }
  }
}

void Federation::Impl::RebuildEvaluation(const Job& job, const EvaluationRecord& evaluation,
                                         EngineState& state) const {
  state.phase = Phase::kEvaluating;
  state.cohort = {evaluation.clients.begin(), evaluation.clients.end()};
  state.expected = evaluation.clients;
  state.deadline = Now() + milliseconds(evaluation.remaining_ms);
  for (const EvaluationReportRecord& report : job.reports) {
    if (report.round == evaluation.round) state.reported.insert(report.client);
  }
  for (const FailureRecord& failure : job.failures) {
    if (failure.round == evaluation.round && failure.attempt == 0) {
      state.failed[failure.client] = PredicateOf(failure);
    }
  }
}

// Pins what rows speak of and deletes the rest: leftovers of a crash between blob and row.
absl::Status Federation::Impl::CollectGarbageLocked() {
  for (const auto& job : jobs_) {
    if (job->models.empty()) continue;
    for (const auto& [round, model] : job->models) {
      // An ended job keeps whatever of its states is still there.
      const bool kept = job->plan == nullptr || IsKept(*job->plan, round);
      if (kept && blobs_.Has(model.sha256)) PinLocked(model.sha256);
    }
    if (job->plan != nullptr) PinLocked(job->models.at(job->snapshot).sha256);
    if (job->plan != nullptr && job->average) {
      for (const std::string& sha256 : BlobsOf(*job->average)) PinLocked(sha256);
    }
    // Of an ended job nobody fetches them, but its state may be lost without.
    const ModelRecord& last = job->models.rbegin()->second;
    if (job->plan != nullptr || !blobs_.Has(last.sha256)) PinCompanionsLocked(last);
    for (const UpdateRecord& update : job->updates) PinLocked(update.sha256);
  }
  RV_ASSIGN_OR_RETURN(const std::vector<BlobInfo> all, blobs_.List());
  for (const BlobInfo& blob : all) {
    if (!pins_.contains(blob.sha256)) RV_RETURN_IF_ERROR(blobs_.Delete(blob.sha256));
  }
  return absl::OkStatus();
}

}  // namespace rivulet
