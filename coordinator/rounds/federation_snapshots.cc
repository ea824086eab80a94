// Federation: states that are in memory alone, and when one is wanted in the store.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "aggregation/scalars/scalar_replay.h"
#include "coordinator/rounds/federation_impl.h"
#include "coordinator/rounds/snapshots.h"

namespace rivulet {
namespace {
// Until it is seen that nobody waits any more for a state to be stored.
constexpr std::chrono::milliseconds kPoll{250};
}  // namespace

// The sums of a pool move the state of round 0, whatever is stored beside it.
const ModelRecord& Federation::Impl::LogBase(const Job& job) {
  const bool pooled = job.plan->scalars && job.plan->scalars->pooled();
  return pooled ? job.models.begin()->second : job.models.at(job.snapshot);
}

const ModelRecord& Federation::Impl::SnapshotOf(const Job& job) {
  return IsStored(job) ? job.models.rbegin()->second : LogBase(job);
}

// That of `round` is in the store, and the one before has served once its round is over.
void Federation::Impl::StoredStateLocked(Job& job, uint64_t round) {
  if (IsKept(*job.plan, round)) PinLocked(job.models.at(round).sha256);
  SetSnapshotLocked(job, round);
}

void Federation::Impl::SetSnapshotLocked(Job& job, uint64_t round) {
  PinLocked(job.models.at(round).sha256);
  job.former.push_back(job.models.at(job.snapshot).sha256);
  job.snapshot = round;
}

// No task names them any more.
void Federation::Impl::DropFormerLocked(Job& job) {
  for (const std::string& sha256 : job.former) UnpinLocked(sha256);
  job.former.clear();
}

void Federation::Impl::WantStateLocked(Job& job) {
  if (job.storing || IsStored(job)) return;
  job.storing = true;
  job.unstorable = absl::OkStatus();  // of another attempt
  work_.push_back({job.record.id});
  work_ready_.notify_one();
}

// The same for who can wait: while the disk is nearly full, its room is for rounds and ends.
absl::Status Federation::Impl::AskForStateLocked(Job& job) {
  const uint64_t want = job.models.rbegin()->second.bytes + config_.low_water_bytes;
  if (!job.storing && !IsStored(job) && blobs_.FreeBytes() < want) {
    return Refuse(absl::StatusCode::kResourceExhausted,
                  "state directory: too little disk space is left to store a state; want " +
                      std::to_string(want) + " bytes",
                  Remedy::kRetryLater);
  }
  WantStateLocked(job);
  return absl::OkStatus();
}

// No job ends before its last state is stored: the worker writes it, and DrainLocked goes on then.
// What was asked for before may have failed for a reason that has passed: the end tries for itself.
bool Federation::Impl::EndIsStoredLocked(Job& job) {
  if (IsStored(job)) return true;
  if (job.storing) return false;
  if (std::exchange(job.last_try, true)) return true;
  WantStateLocked(job);
  return false;
}

void Federation::Impl::StoreToday(Job& job, std::unique_lock<std::mutex>& lock) {
  if (IsStored(job)) {  // with its round, since it was asked for
    job.storing = false;
    changed_.notify_all();
    return DrainLocked(job);
  }
  ModelRecord model = job.models.rbegin()->second;
  const std::shared_ptr<const JobPlan> plan = job.plan;  // `running` refers to it
  std::shared_ptr<RunningRound> running = RunningOf(job);
  std::optional<AverageBefore> average;  // which no ended job needs
  if (job.average && KeepsAverage(plan->spec) && !job.last_try) average = TakeAverageLocked(job);
  std::optional<AveragedState> kept;
  working_ = true;
  ++putting_;
  lock.unlock();
  absl::Status stored = running->ReadParent(blobs_, model.sha256);
  if (stored.ok() && average) {
    absl::StatusOr<AveragedState> done = KeepAverage(*plan, *std::move(average));
    stored = done.status();
    if (done.ok()) kept = *std::move(done);
  }
  if (stored.ok()) stored = StoreState(blobs_, running->parent(), model);
  lock.lock();
  working_ = false;
  --putting_;
  if (kept) SetAverageLocked(job, std::move(kept));
  // The job is still there: it does not end while its state is being stored. A round that was lost
  // meanwhile goes on from the same state.
  const uint64_t round = job.models.rbegin()->first;
  if (!stored.ok() && job.unstorable.ok()) {
    spdlog::error("job {}: {}", job.record.id, std::string(stored.message()));
  }
  job.unstorable = stored;
  if (stored.ok()) {
    StoredStateLocked(job, round);
    if (job.summed == 0) job.running.reset();  // no round has begun with it
  }
  ReturnRunningLocked(job, std::move(running));
  const bool full = stored.code() == absl::StatusCode::kResourceExhausted;
  if (full && (job.last_try || IsKept(*job.plan, round))) {
    work_.push_back({job.record.id, Now() + kTryAgainAfter});
    return;
  }
  job.storing = false;
  changed_.notify_all();
  const bool lost =
      stored.code() == absl::StatusCode::kDataLoss || stored.code() == absl::StatusCode::kNotFound;
  if (lost) {  // nor would another attempt come to it
    if (job.engine->state().phase != Phase::kEnded) job.backlog.clear();
    FeedLocked(job, WorkFailed{std::string(stored.message()), ExitCode::kState});
  } else {
    DrainLocked(job);
  }
  SweepSlowly(lock);
}

// Before the state: whoever starts from a stored state finds its average beside it, and where the
// state was not stored after all, still that of the older one.
absl::StatusOr<AveragedState> Federation::Impl::KeepAverage(const JobPlan& plan,
                                                            AverageBefore before) {
  const std::string job = before.model.job;
  RV_ASSIGN_OR_RETURN(AveragedState kept, StoreAverage(blobs_, plan, std::move(before)));
  RV_RETURN_IF_ERROR(states_.Commit({SetSecret{{job, 0, 0, kAverage, TextOf(kept)}}}));
  return kept;
}

absl::StatusOr<std::unique_ptr<BlobReader>> Federation::Impl::OpenDownload(
    const std::string& id, const std::string& sha256, const std::function<bool()>& gone) {
  std::unique_lock lock(mutex_);
  const auto known = [&](const Job& job) {  // as Downloads
    return std::any_of(job.models.begin(), job.models.end(), [&](const auto& model) {
      const bool listed = model.first == job.models.rbegin()->first || pins_.contains(sha256);
      return listed && model.second.sha256 == sha256;
    });
  };
  Job* const job = FindLocked(id);
  if (job == nullptr || !known(*job)) {
    return Refuse(absl::StatusCode::kNotFound, "job " + id + ": has no state " + sha256);
  }
  const bool today = job->models.rbegin()->second.sha256 == sha256;
  if (!today || job->engine == nullptr || IsStored(*job)) return blobs_.Open(sha256);
  RV_RETURN_IF_ERROR(AskForStateLocked(*job));
  if (!config_.background) {
    while (WorkOnce(lock)) {
    }
  }
  // Pinned now, or gone by with its round: what is asked for is that of its name.
  const auto written = [&] { return !job->storing || pins_.contains(sha256); };
  const auto give_up = std::chrono::steady_clock::now() + config_.state_patience;
  while (!changed_.wait_for(lock, kPoll, written) && std::chrono::steady_clock::now() < give_up) {
    if (gone()) return absl::CancelledError("download: the caller is gone");
  }
  if (written() && pins_.contains(sha256)) return blobs_.Open(sha256);
  if (!job->unstorable.ok()) return job->unstorable;
  return Refuse(absl::StatusCode::kUnavailable,
                "state " + sha256 +
                    ": is not stored yet, or another one is the latest by now; "
                    "want it asked for again",
                Remedy::kRetryLater);
}

}  // namespace rivulet
