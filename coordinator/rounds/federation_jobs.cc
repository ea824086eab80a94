// Federation: submitting, stopping, time.
#include <algorithm>
#include <utility>

#include "common/job/validate_private.h"
#include "coordinator/rounds/aggregate.h"
#include "coordinator/rounds/federation_impl.h"
#include "coordinator/rounds/snapshots.h"
#include "coordinator/rounds/update_layout.h"
#include "privacy/crypto/random_bytes.h"
#include "privacy/dp/noise_seed.h"

namespace rivulet {

using std::chrono::milliseconds;

namespace {

EngineConfig EngineConfigOf(const JobSpec& spec, const FederationConfig& federation) {
  EngineConfig config;
  config.rounds = static_cast<uint64_t>(spec.job.num_rounds);
  config.min_clients = FewestSummed(spec);
  config.min_available = spec.job.min_available_clients;
  config.clients_per_round = spec.job.clients_per_round;
  config.fraction = spec.job.fraction_train;
  config.over_selection = spec.job.over_selection;
  config.selection = spec.job.selection;
  config.round_deadline = federation.round_deadlines ? spec.job.round_deadline : kNoDeadline;
  config.start_deadline = spec.job.start_deadline;
  config.return_grace = federation.return_grace;
  config.trusted = spec.robust.trusted_client;
  config.max_failures = spec.job.max_failures;
  if (spec.secure_aggregation.enabled) config.most_attempts = secagg::kMaxAttempts;
  config.seed = spec.job.seed;
  config.evaluates = spec.data.held_out_fraction > 0;
  if (IsCorrelated(spec)) config.separation = static_cast<uint64_t>(spec.privacy.min_separation);
  config.two_passes = InTwoPasses(spec);
  config.evaluate_every = static_cast<uint64_t>(std::max(spec.evaluate.every, 0));
  return config;
}

constexpr milliseconds kSaveRemainingEvery{10000};

}  // namespace

Federation::Impl::Impl(FederationConfig config, StateStore& states, BlobStore& blobs,
                       ClientGateway& gateway, const Clock& clock)
    : config_(std::move(config)), states_(states), blobs_(blobs), gateway_(gateway), clock_(clock) {
  if (config_.background) worker_ = std::thread([this] { WorkLoop(); });
}

Federation::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  work_ready_.notify_all();
  if (worker_.joinable()) worker_.join();
}

Federation::Impl::Job* Federation::Impl::FindLocked(const std::string& id) {
  return const_cast<Job*>(std::as_const(*this).FindLocked(id));
}

const Federation::Impl::Job* Federation::Impl::FindLocked(const std::string& id) const {
  for (const auto& job : jobs_) {
    if (job->record.id == id) return job.get();
  }
  return nullptr;
}

std::string Federation::Impl::NewJobIdLocked(const JobSubmission& submission) const {
  for (uint64_t salt = jobs_.size();; ++salt) {
    const std::string id = Sha256Hex(submission.submit_token + "\n" + std::to_string(salt) + "\n" +
                                     submission.document)
                               .substr(0, 12);
    if (FindLocked(id) == nullptr) return id;
  }
}

// The job that an earlier submit with this token made; empty when there is none.
absl::StatusOr<std::string> Federation::Impl::RepeatedSubmitLocked(
    const JobSubmission& submission) const {
  if (submission.submit_token.empty()) return std::string();
  for (const auto& job : jobs_) {
    if (job->record.submit_token != submission.submit_token) continue;
    if (job->record.document == submission.document) return job->record.id;
    return Refuse(absl::StatusCode::kAlreadyExists,
                  "submit token: already used for job " + job->record.id +
                      ", whose document differs; want a new token");
  }
  return std::string();
}

std::unique_ptr<RoundEngine> Federation::Impl::MakeEngine(const Job& job, EngineState state) const {
  EngineConfig config = EngineConfigOf(job.plan->spec, config_);
  if (!job.cohort_seed.empty()) {
    config.draw = [plan = job.plan, seed = job.cohort_seed](const std::vector<std::string>& names,
                                                            uint64_t round, uint32_t attempt) {
      auto drawn = SecretCohort(plan->spec, seed, round, attempt, names);
      // q and the seed are checked: this cannot fail. If it did, nobody is drawn.
      return drawn.ok() ? *std::move(drawn) : std::vector<std::string>();
    };
  }
  return std::make_unique<RoundEngine>(std::move(config), std::move(state), Now());
}

absl::StatusOr<SubmitNeeds> Federation::Impl::NeedsOf(const JobSubmission& submission) const {
  RV_ASSIGN_OR_RETURN(const JobPlan plan, config_.planner(submission.document));
  RV_RETURN_IF_ERROR(CheckNewJob(plan));
  SubmitNeeds needs;
  {
    const std::lock_guard lock(mutex_);
    RV_ASSIGN_OR_RETURN(needs.job, RepeatedSubmitLocked(submission));
  }
  if (!needs.job.empty() || plan.from_base.empty()) return needs;
  needs.base_tensors = LargestUpdateBytes(plan.from_base);
  const uint64_t want = needs.base_tensors + config_.low_water_bytes;
  if (const uint64_t free = blobs_.FreeBytes(); free < want) {
    return Refuse(absl::StatusCode::kResourceExhausted,
                  "disk: got " + std::to_string(free) + " bytes free, want " +
                      std::to_string(want) + " bytes",
                  Remedy::kRetryLater);
  }
  return needs;
}

absl::StatusOr<std::string> Federation::Impl::Submit(const JobSubmission& submission) {
  RV_ASSIGN_OR_RETURN(JobPlan planned, config_.planner(submission.document));
  RV_RETURN_IF_ERROR(CheckNewJob(planned));
  const auto plan = std::make_shared<const JobPlan>(std::move(planned));
  std::unique_lock lock(mutex_);
  RV_ASSIGN_OR_RETURN(const std::string known, RepeatedSubmitLocked(submission));
  if (!known.empty()) return known;
  ++putting_;
  lock.unlock();
  ParameterSet initial;
  absl::StatusOr<ModelRecord> model =
      StoreInitialState(blobs_, *plan, submission.base_tensors, &initial);
  lock.lock();
  --putting_;
  if (!model.ok()) return model.status();
  RV_ASSIGN_OR_RETURN(const std::string meanwhile, RepeatedSubmitLocked(submission));
  if (!meanwhile.empty()) return meanwhile;

  JobRecord record;
  record.id = NewJobIdLocked(submission);
  record.name = plan->spec.job.name;
  record.submit_token = submission.submit_token;
  record.document = submission.document;
  record.submitted_ms = clock_.UnixMillis();
  model->job = record.id;
  std::vector<Write> writes = {PutJob{record}, PutModel{*model}};
  SecretText cohort_seed;
  if (plan->spec.privacy.sampling == "poisson") {
    cohort_seed = SecretBytes(NoiseSeed::kBytes);
    writes.push_back(SetSecret{{record.id, 0, 0, kCohortSecret, cohort_seed}});
  }
  SecretText run_seed;
  if (IsCorrelated(plan->spec)) {
    run_seed = SecretBytes(NoiseSeed::kBytes);
    writes.push_back(SetSecret{{record.id, 0, 0, kNoiseSecret, run_seed}});
  }
  RV_RETURN_IF_ERROR(states_.Commit(writes));
  jobs_.push_back(std::make_unique<Job>());
  Job& job = *jobs_.back();
  job.record = std::move(record);
  job.document_sha256 = Sha256Hex(job.record.document);
  job.plan = plan;
  job.cohort_seed = std::move(cohort_seed);
  job.run_seed = std::move(run_seed);
  job.engine = MakeEngine(job, EngineState{});
  DescribeLocked(job, plan->spec);
  job.models[0] = *std::move(model);
  const std::string& first = job.models[0].sha256;
  PinLocked(first);
  if (IsKept(*plan, 0)) PinLocked(first);
  if (made_ == nullptr) KeepStateLocked(job, first, std::move(initial));
  EmitLocked(job, "job.submitted", 0, {{"name", job.record.name}});
  const std::string id = job.record.id;
  for (const auto& [name, client] : clients_) {
    if (job.engine == nullptr || !EligibleLocked(job, client)) continue;
    FeedLocked(job, ClientConnected{name, client.facts.memory_bytes});
  }
  return id;
}

absl::Status Federation::Impl::Stop(const std::string& id, bool now) {
  const std::lock_guard lock(mutex_);
  RV_ASSIGN_OR_RETURN(Job* const job, OpenJobLocked(id));
  if (job->record.state == JobState::kActive || (now && !job->record.stop_now)) {
    MoveJob stop{id, job->record.state, JobState::kStopping};
    stop.stop_now = now;
    RV_RETURN_IF_ERROR(states_.Commit({stop}));
    job->record.state = JobState::kStopping;
    job->record.stop_now = now;
  }
  FeedLocked(*job, StopRequested{now});
  return absl::OkStatus();
}

// An active job. Errors: NotFound; FailedPrecondition when it has ended.
absl::StatusOr<Federation::Impl::Job*> Federation::Impl::OpenJobLocked(const std::string& id) {
  Job* const job = FindLocked(id);
  if (job == nullptr) {
    return Refuse(absl::StatusCode::kNotFound, "job: got '" + id + "', which is not known here");
  }
  if (job->engine != nullptr) return job;
  return Refuse(absl::StatusCode::kFailedPrecondition,
                "job " + id + ": has ended (" + std::string(NameOf(job->record.state)) + ")",
                Remedy::kResync);
}

void Federation::Impl::Tick() {
  std::unique_lock lock(mutex_);
  for (size_t position = 0; position < jobs_.size(); ++position) {
    Job& job = *jobs_[position];
    if (job.engine == nullptr) continue;
    DrainLocked(job);
    if (job.engine == nullptr) continue;
    MaskingTimeLocked(job);
    FeedLocked(job, TimePassed{});
    SaveRemainingLocked(job);
  }
  SweepLocked();
  if (config_.background) {
    work_ready_.notify_one();
    return;
  }
  while (WorkOnce(lock)) {
  }
}

// What is left of a deadline outlives a restart, whatever the clocks do meanwhile.
void Federation::Impl::SaveRemainingLocked(Job& job) {
  if (job.engine == nullptr || Now() - job.saved_remaining < kSaveRemainingEvery) return;
  const EngineState& state = job.engine->state();
  const int64_t left = std::max<int64_t>((state.deadline - Now()).count(), 0);
  job.saved_remaining = Now();
  if (state.phase == Phase::kOpen) {
    (void)states_.Commit({SetRemaining{job.record.id, state.round + 1, state.attempt, left}});
  } else if (state.phase == Phase::kEvaluating) {
    (void)states_.Commit({SetRemaining{job.record.id, state.round, 0, left}});
  } else if (state.phase == Phase::kWaiting) {
    (void)states_.Commit({SetWaiting{job.record.id, left}});
  }
}

std::optional<milliseconds> Federation::Impl::NextDeadline() const {
  const std::lock_guard lock(mutex_);
  std::optional<milliseconds> next;
  for (const auto& job : jobs_) {
    if (job->engine == nullptr) continue;
    for (const std::optional<milliseconds> one :
         {job->engine->NextDeadline(),
          job->masked != nullptr ? job->masked->NextDeadline() : std::nullopt}) {
      if (one && (!next || *one < *next)) next = one;
    }
  }
  return next;
}

}  // namespace rivulet
