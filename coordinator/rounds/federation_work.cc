// Federation: aggregating and publishing, outside the lock; blobs that nobody needs any more.
#include <algorithm>
#include <cmath>
#include <utility>

#include "common/job/job_keys.h"
#include "common/job/validate_private.h"
#include "coordinator/rounds/aggregate.h"
#include "coordinator/rounds/decoded_mean.h"
#include "coordinator/rounds/federation_impl.h"
#include "coordinator/rounds/scalar_step.h"
#include "coordinator/rounds/snapshots.h"

namespace rivulet {

namespace {
std::string NameList(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

// Of the last round that was published.
double LossBefore(const std::vector<RoundRecord>& rounds) {
  const auto done = std::find_if(rounds.rbegin(), rounds.rend(), [](const RoundRecord& round) {
    return round.state == RoundState::kDone;
  });
  return done == rounds.rend() ? 0 : done->figures.loss;
}

// The updates that a closed round counts, sorted by client. Errors: DataLoss when they are not
// exactly one of each.
absl::StatusOr<std::vector<UpdateRecord>> FrozenSet(const RoundRecord& round,
                                                    const std::vector<UpdateRecord>& updates) {
  std::vector<UpdateRecord> set;
  for (const UpdateRecord& update : updates) {
    const bool counts =
        update.round == round.round && update.attempt == round.attempt &&
        std::binary_search(round.counted.begin(), round.counted.end(), update.client);
    if (counts) set.push_back(update);
  }
  std::sort(set.begin(), set.end(),
            [](const UpdateRecord& a, const UpdateRecord& b) { return a.client < b.client; });
  if (std::equal(set.begin(), set.end(), round.counted.begin(), round.counted.end(),
                 [](const UpdateRecord& a, const std::string& b) { return a.client == b; })) {
    return set;
  }
  return Refuse(absl::StatusCode::kDataLoss,
                "attempt " + std::to_string(round.attempt) + ": got " + std::to_string(set.size()) +
                    " updates, want one of each of the " + std::to_string(round.counted.size()) +
                    " clients counted");
}
}  // namespace

void Federation::Impl::WorkLoop() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    if (WorkOnce(lock) || ending_) continue;  // which may have let go of the lock meanwhile
    if (work_.empty()) {
      work_ready_.wait(lock);
    } else {
      work_ready_.wait_for(lock, std::chrono::milliseconds(250));
    }
  }
}

// What clients wait for goes first: a round that is about to open, or that has closed.
std::deque<Federation::Impl::Work>::iterator Federation::Impl::DueLocked() {
  auto due = work_.end();
  for (auto work = work_.begin(); work != work_.end(); ++work) {
    if (work->not_before > Now()) continue;
    const Job* const job = FindLocked(work->job);
    const bool waited_for = job != nullptr && job->engine != nullptr &&
                            (job->engine->state().phase == Phase::kClosed || AwaitsPlan(*job) ||
                             job->resuming || job->storing);
    if (waited_for) return work;
    if (due == work_.end()) due = work;
  }
  return due;
}

bool Federation::Impl::WorkOnce(std::unique_lock<std::mutex>& lock) {
  FreeDropped(lock);
  const auto due = DueLocked();
  if (working_ || ending_ || due == work_.end()) return false;
  Job* const job = FindLocked(due->job);
  work_.erase(due);
  if (job == nullptr || job->engine == nullptr) return true;
  if (job->resuming) {
    PlanResumed(*job, lock);
    return true;
  }
  if (AwaitsPlan(*job)) {
    PlanRelease(*job, lock);
    return true;
  }
  if (job->storing) {
    StoreToday(*job, lock);
    return true;
  }
  const bool alone = job->plan->spec.privacy.mechanism == "central";  // each is clipped
  if (alone && job->engine->state().phase == Phase::kOpen) return true;
  if (job->plan->masked && !job->opening) {  // its sum cannot be opened yet
    RebuildSecrets(*job, lock);
    return true;
  }
  if (job->engine->state().phase == Phase::kOpen) SumArrived(*job, lock);
  if (job->engine == nullptr || job->engine->state().phase != Phase::kClosed) return true;
  if (job->rounds.empty()) return true;

  const absl::StatusOr<std::vector<UpdateRecord>> set = FrozenSet(job->rounds.back(), job->updates);
  if (!set.ok()) {
    PublishLocked(*job, set.status());
    return true;
  }
  const ModelRecord parent = job->models.rbegin()->second;
  const std::shared_ptr<const JobPlan> plan = job->plan;
  std::shared_ptr<RunningRound> running = RunningOf(*job);
  const std::vector<ReceivedUpdate> received = job->received;
  const std::shared_ptr<MaskedRound> masked = job->masked;
  const SecretText noise_seed = IsCorrelated(job->plan->spec) ? job->run_seed : job->noise_seed;
  const std::string initial = job->models.begin()->second.sha256;
  const ModelRecord snapshot = LogBase(*job);
  AverageBefore average = TakeAverageLocked(*job);
  const RoundTerms terms = TermsOfLocked(*job, job->rounds.back().cohort.size());
  const std::shared_ptr<const CodedRound> coded = CodedOfLocked(*job);
  const std::string choice = job->choice;
  working_ = true;
  ++putting_;
  lock.unlock();
  absl::StatusOr<AggregatedRound> result =
      masked != nullptr ? AggregateMasked(blobs_, *plan, parent, initial, *set, noise_seed, terms,
                                          *masked, *running)
      : plan->spec.privacy.mechanism == "central"
          ? AggregateCentral(blobs_, *plan, parent, initial, *set, noise_seed, terms, *running,
                             coded.get(), choice)
          : AggregateRound(blobs_, *plan, parent, initial, *set, received, *running, coded.get(),
                           choice);
  if (result.ok()) {
    const absl::Status stored = StoreIfDue(blobs_, *plan, snapshot, *result);
    if (!stored.ok()) result = stored;
  }
  const auto last = static_cast<uint64_t>(plan->spec.job.num_rounds);
  if (result.ok() && plan->spec.scalars.candidates > 1 && result->model.round < last) {
    const absl::Status chosen = ChooseNext(blobs_, *plan, *result);
    if (!chosen.ok()) result = chosen;
  }
  const bool moves = !InTwoPasses(plan->spec) || IsSecondPass(plan->spec, parent.round + 1);
  if (result.ok() && plan->spec.evaluate.ema > 0 && moves) {
    const absl::Status averaged = NextAverage(blobs_, *plan, std::move(average), *result);
    if (!averaged.ok()) result = averaged;
  }
  lock.lock();
  PublishLocked(*job, std::move(result));
  working_ = false;
  --putting_;
  dropped_.push_back(std::move(running));
  FreeDropped(lock);
  SweepSlowly(lock);
  return true;
}

std::shared_ptr<RunningRound> Federation::Impl::RunningOf(Job& job) {
  const ModelRecord& parent = job.models.rbegin()->second;
  if (job.running == nullptr) {
    job.running = std::make_shared<RunningRound>(job.plan->update_manifest(), job.plan->manifest);
    std::shared_ptr<MadeState>& made = job.made != nullptr ? job.made : made_;
    if (made != nullptr && made->sha256 == parent.sha256) {
      job.running->GiveParent(std::move(made->values), made->sha256);
      made.reset();
    }
  }
  job.running->MakeParentBy(
      [plan = job.plan, snapshot = SnapshotOf(job), parent](const BlobStore& blobs) {
        return ReadState(blobs, *plan, snapshot, parent);
      });
  return job.running;
}

void Federation::Impl::KeepStateLocked(Job& job, const std::string& sha256, ParameterSet values) {
  dropped_.push_back(std::move(job.made));
  std::shared_ptr<MadeState>& made = IsStored(job) ? made_ : job.made;
  dropped_.push_back(std::move(made));
  made = std::make_shared<MadeState>(MadeState{sha256, std::move(values)});
}

// Of an attempt that came to nothing: the next one begins with the same state.
void Federation::Impl::KeepParentLocked(Job& job, RunningRound& running) {
  const std::string& today = job.models.rbegin()->second.sha256;
  std::optional<ParameterSet> parent = running.ReleaseParent(today);
  if (parent) KeepStateLocked(job, today, *std::move(parent));
}

// By the worker. Its attempt may have been abandoned meanwhile.
void Federation::Impl::ReturnRunningLocked(Job& job, std::shared_ptr<RunningRound> running) {
  if (job.engine != nullptr && job.running != running) KeepParentLocked(job, *running);
  dropped_.push_back(std::move(running));  // perhaps the last to hold it
}

std::shared_ptr<const CodedRound> Federation::Impl::CodedOfLocked(Job& job) {
  if (!IsCoded(job.plan->spec)) return nullptr;
  const ModelRecord &first = job.models.begin()->second, &parent = job.models.rbegin()->second;
  if (job.coded == nullptr || job.coded->round() != parent.round + 1) {
    dropped_.push_back(std::move(job.coded));
    job.coded = std::make_shared<const CodedRound>(job.plan, blobs_, parent.round + 1, first.sha256,
                                                   parent.sha256);
  }
  return job.coded;
}

// Adds up what has arrived, a few updates in one pass over the sum, while others still arrive. For
// one job at a time: a sum takes twice the memory of the model. The others' begin when their rounds
// have closed.
void Federation::Impl::SumArrived(Job& job, std::unique_lock<std::mutex>& lock) {
  if (NeedsDecodedMean(job.plan->spec)) return;
  if (job.received.size() - job.summed < FixedPointSum::kTogether) return;
  const bool other = std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& one) {
    return one.get() != &job && one->running != nullptr;
  });
  if (other) return;
  const auto first = job.received.begin() + static_cast<ptrdiff_t>(job.summed);
  const std::vector<ReceivedUpdate> fresh(first,
                                          first + static_cast<ptrdiff_t>(FixedPointSum::kTogether));
  job.summed += fresh.size();
  const std::string parent = job.models.rbegin()->second.sha256;
  const std::shared_ptr<const JobPlan> plan = job.plan;  // `running` refers to it
  std::shared_ptr<RunningRound> running = RunningOf(job);
  working_ = true;
  lock.unlock();
  (void)running->ReadParent(blobs_, parent);
  (void)running->Add(blobs_, fresh, false);  // what went wrong shows when the round has closed
  lock.lock();
  working_ = false;
  ReturnRunningLocked(job, std::move(running));
}

void Federation::Impl::DropSumLocked(Job& job) {
  job.received.clear();
  job.summed = 0;
  if (job.running == nullptr) return;
  std::shared_ptr<RunningRound> running = std::exchange(job.running, nullptr);
  if (running.use_count() == 1) KeepParentLocked(job, *running);  // else the worker has it
  dropped_.push_back(std::move(running));
  work_ready_.notify_one();
}

// To give gigabytes back takes a while.
void Federation::Impl::FreeDropped(std::unique_lock<std::mutex>& lock) {
  while (!dropped_.empty()) {
    std::vector<std::shared_ptr<const void>> dropped = std::exchange(dropped_, {});
    lock.unlock();
    dropped.clear();
    lock.lock();
  }
}

void Federation::Impl::PublishLocked(Job& job, absl::StatusOr<AggregatedRound> result) {
  if (job.engine == nullptr) return;
  RoundRecord& round = job.rounds.back();
  absl::Status published = result.status();
  if (published.ok()) {
    result->model.job = job.record.id;
    // Only shown; the database takes no NaN.
    if (!std::isfinite(result->figures.loss)) result->figures.loss = 0;
    if (result->figures.bias && !std::isfinite(*result->figures.bias)) result->figures.bias.reset();
    result->figures.bytes_down = job.bytes_down;
    // Nobody trains for a second pass: what it moves the model by was trained in the first.
    if (IsSecondPass(job.plan->spec, round.round)) result->figures.loss = LossBefore(job.rounds);
    result->figures.milliseconds = clock_.UnixMillis() - round.opened_ms;
    MoveRound done;
    done.job = job.record.id;
    done.round = round.round;
    done.attempt = round.attempt;
    done.from = RoundState::kClosed;
    done.to = RoundState::kDone;
    done.figures = result->figures;
    std::vector<Write> writes = {done, PutModel{result->model},
                                 DropSecrets{job.record.id, round.round, round.attempt}};
    if (result->clip_norm) {
      writes.push_back(SetSecret{{job.record.id, 0, 0, kClipNorm, NumberText(*result->clip_norm)}});
    }
    if (result->average) {
      writes.push_back(SetSecret{{job.record.id, 0, 0, kAverage, TextOf(*result->average)}});
    }
    if (job.plan->spec.scalars.candidates > 1) {
      writes.push_back(SetSecret{{job.record.id, 0, 0, kChoice, result->choice}});
    }
    published = states_.Commit(writes);
  }
  if (published.code() == absl::StatusCode::kResourceExhausted) {
    work_.push_back({job.record.id, Now() + kTryAgainAfter});
    return;
  }
  if (!published.ok()) {
    return FeedLocked(job, WorkFailed{"round " + std::to_string(round.round) + ": " +
                                      std::string(published.message())});
  }
  EndMaskingLocked(job);
  job.noise_seed.Wipe();
  if (result->clip_norm) job.clip_norm = *result->clip_norm;
  if (result->average) {
    const std::string sha256 = result->average->sha256;
    SetAverageLocked(job, std::move(result->average));
    if (result->average_values) {
      job.averaged = std::make_shared<MadeState>(
          MadeState{sha256, *std::exchange(result->average_values, std::nullopt)});
    }
  }
  job.choice = std::move(result->choice);
  round.state = RoundState::kDone;
  round.figures = result->figures;
  job.all_bytes_up += round.figures.bytes_up;
  job.all_protocol_bytes_up += round.figures.protocol_bytes_up;
  job.all_bytes_down += round.figures.bytes_down;
  job.bytes_down = 0;
  PinCompanionsLocked(result->model);
  job.models[round.round] = result->model;
  job.unstorable = absl::OkStatus();
  if (result->stored) {
    StoredStateLocked(job, round.round);
  } else if (job.plan->scalars->pooled()) {
    SetSnapshotLocked(job, 0);  // what was stored since leads nowhere
  }
  KeepStateLocked(job, result->model.sha256, std::move(result->state));
  RetireLocked(job);
  std::vector<std::pair<std::string, JobEvent::Value>> data = {
      {"attempt", int64_t{round.attempt}},
      {"clients", static_cast<int64_t>(round.counted.size())},
      {"loss", round.figures.loss},
      {"tokens", round.figures.tokens},
      {"bytes_up", round.figures.bytes_up},
      {"bytes_down", round.figures.bytes_down},
      {"milliseconds", round.figures.milliseconds},
      {"state_hash", result->model.state_hash}};
  data.emplace_back("raw_bytes_up",
                    static_cast<int64_t>(round.counted.size() * result->model.bytes));
  if (job.plan->masked) data.emplace_back("protocol_bytes_up", round.figures.protocol_bytes_up);
  data.emplace_back("learning_rate", job.plan->spec.train.learning_rate);
  if (result->grad_norm) data.emplace_back("grad_norm", *result->grad_norm);
  if (result->clip_norm) data.emplace_back("clip_norm", *result->clip_norm);
  if (round.figures.bias) data.emplace_back("bias", *round.figures.bias);
  if (job.plan->spec.robust.rule != "none") {
    data.emplace_back("left_out", NameList(round.figures.left_out));
    data.emplace_back("scaled", result->scaled);
  }
  EmitLocked(job, "round.completed", round.round, std::move(data));
  FeedLocked(job, Published{});
}

// After a publication: its updates and what it was made from have served.
void Federation::Impl::RetireLocked(Job& job) {
  for (const UpdateRecord& update : job.updates) UnpinLocked(update.sha256);
  job.previous = std::exchange(job.updates, {});
  DropSumLocked(job);
  RetireParentLocked(job);
}

void Federation::Impl::RetireParentLocked(Job& job) {
  DropFormerLocked(job);
  UnpinCompanionsLocked(std::next(job.models.rbegin())->second);
}

// What lies beside a state, for the round after it.
void Federation::Impl::UnpinCompanionsLocked(const ModelRecord& model) {
  if (!model.optimizer_sha256.empty()) UnpinLocked(model.optimizer_sha256);
  if (!model.log_sha256.empty()) UnpinLocked(model.log_sha256);
}

void Federation::Impl::PinCompanionsLocked(const ModelRecord& model) {
  if (!model.optimizer_sha256.empty()) PinLocked(model.optimizer_sha256);
  if (!model.log_sha256.empty()) PinLocked(model.log_sha256);
}

void Federation::Impl::SetAverageLocked(Job& job, std::optional<AveragedState> average) {
  const auto blobs = [](const std::optional<AveragedState>& one) {
    return one ? BlobsOf(*one) : std::set<std::string>();
  };
  for (const std::string& sha256 : blobs(average)) PinLocked(sha256);
  for (const std::string& sha256 : blobs(job.average)) UnpinLocked(sha256);
  job.average = std::move(average);
}

// What comes next is made of it: its numbers are taken out of memory.
AverageBefore Federation::Impl::TakeAverageLocked(Job& job) {
  AverageBefore before;
  before.average = job.average.value_or(FirstAverage(job.models.begin()->second));
  before.snapshot = LogBase(job);
  before.model = job.models.rbegin()->second;
  if (job.averaged != nullptr && job.averaged->sha256 == before.average.sha256) {
    before.values = std::move(job.averaged->values);
  }
  job.averaged.reset();
  return before;
}

void Federation::Impl::PinLocked(const std::string& sha256) {
  ++pins_[sha256];
  unpinned_.erase(sha256);
}

void Federation::Impl::UnpinLocked(const std::string& sha256) {
  const auto pin = pins_.find(sha256);
  if (pin == pins_.end() || --pin->second > 0) return;
  pins_.erase(pin);
  unpinned_.insert(sha256);
}

// A blob that is being made may turn out to be one that nobody needed any more: nothing is deleted
// meanwhile.
void Federation::Impl::SweepLocked() {
  if (putting_ > 0) return;
  for (const std::string& sha256 : unpinned_) (void)blobs_.Delete(sha256);
  unpinned_.clear();
}

// The same, but lets others have the lock between two files: to delete a large one takes a while.
void Federation::Impl::SweepSlowly(std::unique_lock<std::mutex>& lock) {
  while (putting_ == 0 && !unpinned_.empty()) {
    (void)blobs_.Delete(unpinned_.extract(unpinned_.begin()).value());
    lock.unlock();
    std::this_thread::yield();
    lock.lock();
  }
}

}  // namespace rivulet
