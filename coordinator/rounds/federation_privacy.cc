// Federation: what rounds release under differential privacy. No row in the ledger, no round.
#include <charconv>
#include <utility>

#include "coordinator/rounds/federation_impl.h"
#include "privacy/dp/noise_seed.h"

namespace rivulet {
namespace {

absl::StatusOr<double> ClipNormFrom(const SecretRecord& record) {
  double value = 0;
  const char* const end = record.bytes.data() + record.bytes.size();
  const auto [stop, error] = std::from_chars(record.bytes.data(), end, value);
  if (error == std::errc() && stop == end && value > 0) return value;
  return WithExit(Refuse(absl::StatusCode::kDataLoss,
                         "job " + record.job + ": the stored clip norm is no number above 0"),
                  ExitCode::kState);
}

}  // namespace

RoundTerms Federation::Impl::TermsOfLocked(const Job& job, size_t invited) const {
  return {job.clip_norm > 0 ? job.clip_norm : job.plan->spec.privacy.clip_norm,
          static_cast<int64_t>(invited)};
}

// Before a round opens: may it be closed one day?
absl::Status Federation::Impl::PlanReleaseLocked(Job& job, const OpenRound& action) {
  job.planned.reset();
  if (!IsPrivate(job.plan->spec)) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(
      LedgerRow planned,
      PlannedRelease(*job.plan, job.record.id, action.round,
                     TermsOfLocked(job, action.cohort.size()),
                     job.masked != nullptr ? &job.masked->group(0).params() : nullptr));
  std::vector<LedgerRow> rows;  // of the data set, whichever job released them
  int64_t closed = 0;
  for (const auto& other : jobs_) {
    for (const LedgerRow& row : other->releases) {
      if (row.data_set == planned.data_set) rows.push_back(row);
    }
    // By what the job says, not by its rows: they may be what is missing.
    const bool same = other->data_set == planned.data_set;
    for (const RoundRecord& round : other->rounds) {
      // An abandoned one that had been closed counts: its set was frozen.
      const bool released = round.state == RoundState::kClosed ||
                            round.state == RoundState::kDone || !round.counted.empty();
      if (same && released) ++closed;
    }
    if (other.get() != &job && other->planned && same) {  // an open round of it will be charged
      rows.push_back(*other->planned);
      ++closed;
    }
  }
  RV_ASSIGN_OR_RETURN(
      const BudgetAnswer answer,
      CheckBudget(*job.plan, rows, closed, static_cast<int64_t>(action.eligible.size()), planned));
  planned.eps_pld = answer.after.pld;
  planned.eps_rdp = answer.after.rdp;
  job.planned = std::move(planned);
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

// After a restart: an open round will be closed, and charged then.
absl::Status Federation::Impl::ResumePlanLocked(Job& job) {
  if (job.engine == nullptr || job.engine->state().phase != Phase::kOpen) return absl::OkStatus();
  const RoundRecord& round = job.rounds.back();
  if (job.plan->masked && job.masked == nullptr) return absl::OkStatus();  // it begins anew
  OpenRound open;
  open.round = round.round;
  open.attempt = round.attempt;
  open.eligible = round.eligible;
  open.cohort = round.cohort;
  return PlanReleaseLocked(job, open);
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
