// Federation: what rounds release under differential privacy. No row in the ledger, no round.
#include <charconv>
#include <utility>

#include "coordinator/rounds/federation_impl.h"
#include "privacy/dp/noise_seed.h"

namespace rivulet {
namespace {

absl::StatusOr<double> ClipNormFrom(const SecretRecord& record) {
  double value = 0;
  const std::string_view text = record.bytes;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const bool number = error == std::errc() && stop == end;
  if (number && value >= AdaptiveClip::kLeast && value <= AdaptiveClip::kMost) return value;
  return WithExit(
      Refuse(absl::StatusCode::kDataLoss,
             "job " + record.job + ": the stored clip norm is no number from 0.0001 to 1000"),
      ExitCode::kState);
}

}  // namespace

RoundTerms Federation::Impl::TermsOfLocked(const Job& job, size_t invited) const {
  return {job.clip_norm > 0 ? job.clip_norm : job.plan->spec.privacy.clip_norm,
          static_cast<int64_t>(invited)};
}

ReleaseQuestion Federation::Impl::ReleaseQuestionLocked(const Job& job,
                                                        const OpenRound& action) const {
  ReleaseQuestion question;
  question.plan = job.plan;
  question.job = job.record.id;
  question.round = action.round;
  question.terms = TermsOfLocked(job, action.cohort.size());
  question.population = static_cast<int64_t>(action.eligible.size());
  for (const auto& other : jobs_) {  // of the data set, whichever job released them
    for (const LedgerRow& row : other->releases) {
      if (row.data_set == job.data_set) question.rows.push_back(row);
    }
    // By what the job says, not by its rows: they may be what is missing.
    const bool same = other->data_set == job.data_set;
    for (const RoundRecord& round : other->rounds) {
      // An abandoned one that had been closed counts: its set was frozen.
      const bool released = round.state == RoundState::kClosed ||
                            round.state == RoundState::kDone || !round.counted.empty();
      if (same && released) ++question.closed;
    }
    if (other.get() != &job && other->planned && same) {  // an open round of it will be charged
      question.rows.push_back(*other->planned);
      ++question.closed;
    }
  }
  return question;
}

// Before a round opens: may it be closed one day? The answer takes seconds: the worker finds it,
// and DrainLocked goes on when it is there. False while it is not.
bool Federation::Impl::ReleaseIsPlannedLocked(Job& job, const OpenRound& action) {
  if (!IsPrivate(job.plan->spec)) return true;
  ReleaseQuestion question = ReleaseQuestionLocked(job, action);
  // Meanwhile another job of the data set may have opened, closed or given up a round.
  if (job.planning && job.planning->question == question) return job.planning->answer.has_value();
  job.planning = Planning{std::move(question), std::nullopt};
  work_.push_back({job.record.id});
  work_ready_.notify_one();
  return false;
}

void Federation::Impl::PlanRelease(Job& job, std::unique_lock<std::mutex>& lock) {
  const ReleaseQuestion question = job.planning->question;
  working_ = true;
  lock.unlock();
  absl::StatusOr<LedgerRow> answer = AnswerTo(question);
  lock.lock();
  working_ = false;
  if (!job.planning || job.planning->question != question) return;
  job.planning->answer = std::move(answer);
  DrainLocked(job);
}

absl::Status Federation::Impl::TakePlanLocked(Job& job) {
  job.planned.reset();
  if (!job.planning) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(job.planned, *job.planning->answer);
  return absl::OkStatus();
}

// Adds to the commit that closes a round: its row, and the seed of its noise.
absl::Status Federation::Impl::ChargeLocked(Job& job, const MoveRound& close,
                                            std::vector<Write>& writes) {
  if (!IsPrivate(job.plan->spec)) return absl::OkStatus();
  if (!job.planned) {
    return Refuse(absl::StatusCode::kDataLoss, "ledger: this round has no planned release");
  }
  job.planned->survivors = static_cast<int64_t>(close.counted.size());
  if (job.plan->spec.privacy.mechanism == "distributed") {
    job.planned->seed_commitment = HexOf(job.masked->group(0).session().sid());
  } else if (IsCorrelated(job.plan->spec)) {
    RV_ASSIGN_OR_RETURN(const NoiseSeed seed, NoiseSeed::FromStored(job.run_seed));
    job.planned->seed_commitment = seed.Commitment();
  } else {
    const NoiseSeed seed = NoiseSeed::Fresh();
    job.noise_seed = seed.SecretForStorage();
    job.planned->seed_commitment = seed.Commitment();
    writes.push_back(
        SetSecret{{close.job, close.round, close.attempt, kNoiseSecret, job.noise_seed}});
  }
  RV_RETURN_IF_ERROR(job.planned->Validate());
  writes.push_back(PutLedger{{close.job, close.round, close.attempt, ToJson(*job.planned)}});
  return absl::OkStatus();
}

// The commit is durable.
void Federation::Impl::ChargedLocked(Job& job) {
  if (!job.planned) return;
  EmitLocked(job, "ledger.charged", static_cast<uint64_t>(job.planned->round),
             {{"epsilon", job.planned->eps_pld},
              {"epsilon_rdp", job.planned->eps_rdp},
              {"delta", job.planned->delta},
              {"survivors", job.planned->survivors}});
  job.releases.push_back(*std::exchange(job.planned, std::nullopt));
}

// After a restart: an open round will be closed, and charged then. What that will be takes seconds
// to find: the worker does, before it plans any other round, and the job goes on once it has.
void Federation::Impl::ResumePlanLocked(Job& job) {
  const bool open = job.engine != nullptr && job.engine->state().phase == Phase::kOpen;
  if (!open || !IsPrivate(job.plan->spec)) return;
  if (job.plan->masked && job.masked == nullptr) return;  // it begins anew
  job.resuming = true;
  work_.push_back({job.record.id});
}

void Federation::Impl::PlanResumed(Job& job, std::unique_lock<std::mutex>& lock) {
  const RoundRecord& round = job.rounds.back();
  OpenRound action;
  action.round = round.round;
  action.attempt = round.attempt;
  action.eligible = round.eligible;
  action.cohort = round.cohort;
  const ReleaseQuestion question = ReleaseQuestionLocked(job, action);
  working_ = true;
  lock.unlock();
  absl::StatusOr<LedgerRow> answer = AnswerTo(question);
  lock.lock();
  working_ = false;
  if (ReleaseQuestionLocked(job, action) != question) {  // another job's round has closed
    work_.push_front({job.record.id});
    return;
  }
  job.resuming = false;
  const Phase phase = job.engine->state().phase;
  const bool open = phase == Phase::kOpen || phase == Phase::kFreezing;
  if (answer.ok()) job.planned = *std::move(answer);
  if (answer.ok() || !open) {  // what was given up or stopped meanwhile ends as that, unplanned
    DrainLocked(job);
  } else {  // a budget that is spent meanwhile is the end of that job, not of the coordinator
    job.backlog.clear();
    FeedLocked(job, WorkFailed{std::string(answer.status().message()), JobExitOf(answer.status())});
  }
}

absl::Status Federation::Impl::AdoptPrivacyLocked(const StoredState& stored) {
  for (const LedgerRecord& record : stored.ledger) {
    Job* const job = FindLocked(record.job);
    if (job == nullptr) continue;
    const absl::StatusOr<LedgerRow> row = LedgerRowFrom(record.row);
    if (!row.ok()) {
      return WithExit(Annotate(row.status(), "ledger of job " + record.job), ExitCode::kState);
    }
    job->data_set = row->data_set;
    job->releases.push_back(*row);
  }
  for (const SecretRecord& secret : stored.secrets) {
    Job* const job = FindLocked(secret.job);
    if (job == nullptr) continue;
    if (secret.name == kClipNorm) {
      RV_ASSIGN_OR_RETURN(job->clip_norm, ClipNormFrom(secret));
    }
    if (secret.name == kChoice) job->choice = secret.bytes.view();
    if (secret.name == kAverage) {
      absl::StatusOr<AveragedState> average = AveragedStateFrom(secret.bytes);
      if (!average.ok()) {
        return WithExit(Annotate(average.status(), "job " + secret.job), ExitCode::kState);
      }
      job->average = *std::move(average);
    }
    if (secret.name == kCohortSecret) job->cohort_seed = secret.bytes;
    if (secret.name == kNoiseSecret) {
      (secret.round == 0 ? job->run_seed : job->noise_seed) = secret.bytes;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ReleaseView>> Federation::Impl::Ledger(const std::string& job) const {
  std::string only;
  if (!job.empty()) {
    RV_ASSIGN_OR_RETURN(only, Resolve(job));
  }
  std::vector<ReleaseView> releases;
  const std::lock_guard lock(mutex_);
  for (const auto& each : jobs_) {
    if (!only.empty() && each->record.id != only) continue;
    for (const LedgerRow& row : each->releases) {
      ReleaseView view{each->record.id, static_cast<uint64_t>(row.round), ToJson(row), 0, 0};
      if (each->plan != nullptr) {
        view.target_epsilon = each->plan->spec.privacy.target_epsilon;
        view.target_delta = each->plan->spec.privacy.target_delta;
      }
      releases.push_back(std::move(view));
    }
  }
  return releases;
}

}  // namespace rivulet
