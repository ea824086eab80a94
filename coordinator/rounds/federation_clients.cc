// Federation: clients, their queues, what they report.
#include <algorithm>
#include <cmath>
#include <utility>

#include "aggregation/weighting.h"
#include "common/utf8.h"
#include "coordinator/rounds/federation_impl.h"
#include "coordinator/rounds/update_layout.h"

namespace rivulet {

using std::chrono::milliseconds;

namespace {

constexpr size_t kLongestName = 200;
constexpr size_t kLongestCode = 64;
constexpr size_t kLongestText = 1000;
// A peer's numbers stay small enough that the sums over any cohort are finite and fit 64 bits.
constexpr int64_t kMostCounted = int64_t{1} << 40;
constexpr int64_t kMostFixed = int64_t{1} << 50;  // 2^30 nats
constexpr double kMostLoss = 1e6;                 // mean loss in nats, norm of a gradient

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Names stand one a line in the database.
bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= kLongestName &&
         std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < 32 || c == 127; });
}

absl::Status CheckCounts(const UpdateHeader& header) {
  const auto refuse = [](const std::string& what) {
    return Refuse(absl::StatusCode::kInvalidArgument, what, Remedy::kLeaveRun);
  };
  if (!IsBlobName(header.sha256)) return refuse("update.sha256: want 64 lower-case hex digits");
  for (const auto& [name, value] :
       {std::pair{"loss", header.loss}, std::pair{"grad_norm", header.grad_norm}}) {
    if (std::isfinite(value) && std::abs(value) <= kMostLoss) continue;
    return refuse("update." + std::string(name) + ": got " + std::to_string(value) +
                  ", want a finite value of at most 1e6");
  }
  for (const auto& [name, value] :
       {std::pair{"examples", header.examples}, std::pair{"tokens", header.tokens},
        std::pair{"steps", header.steps}}) {
    if (value >= 0 && value < kMostCounted) continue;
    return refuse("update." + std::string(name) + ": got " + std::to_string(value) +
                  ", want 0 <= " + name + " < 2^40");
  }
  return absl::OkStatus();
}

absl::Status CheckEvaluation(const EvaluationReportRecord& report) {
  const bool sane = report.counted >= 0 && report.counted < kMostCounted && report.correct >= 0 &&
                    report.correct <= report.counted && report.loss_fixed > -kMostFixed &&
                    report.loss_fixed < kMostFixed;
  if (sane) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "evaluation: got counted " + std::to_string(report.counted) + ", correct " +
                    std::to_string(report.correct) + ", loss " + std::to_string(report.loss_fixed) +
                    "; want 0 <= correct <= counted < 2^40 and |loss| < 2^50",
                Remedy::kLeaveRun);
}

FailureRecord TidyFailure(FailureRecord failure) {
  failure.code = Tidy(failure.code, kLongestCode);
  failure.text = Tidy(failure.text, kLongestText);
  return failure;
}

absl::Status RefuseStale(const UpdateHeader& header, const std::string& why) {
  return Refuse(absl::StatusCode::kFailedPrecondition,
                "job " + header.job_id + " round " + std::to_string(header.round) + " attempt " +
                    std::to_string(header.attempt) + ": " + why,
                Remedy::kResync);
}

}  // namespace

// ---- connections ----

bool Federation::Impl::EligibleLocked(const Job& job, const Client& client) const {
  if (!client.connected) return false;
  const std::string& dataset = job.plan->spec.data.dataset;
  if (!dataset.empty() && !Contains(client.facts.datasets, dataset)) return false;
  return job.plan->base_hash.empty() || Contains(client.facts.base_models, job.plan->base_hash);
}

void Federation::Impl::Connected(const ClientFacts& facts) {
  if (!IsName(facts.name)) return;
  const std::lock_guard lock(mutex_);
  Client& client = clients_[facts.name];
  client.facts = facts;
  client.connected = true;
  client.last_seen_ms = clock_.UnixMillis();
  client.running.reset();
  client.queue.clear();
  for (size_t position = 0; position < jobs_.size(); ++position) {
    Job& job = *jobs_[position];
    if (job.engine == nullptr) continue;
    if (EligibleLocked(job, client)) {
      FeedLocked(job, ClientConnected{facts.name, facts.memory_bytes});
    } else {
      FeedLocked(job, ClientDisconnected{facts.name});
    }
  }
  changed_.notify_all();
}

void Federation::Impl::Disconnected(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = clients_.find(name);
  if (found == clients_.end()) return;
  Client& client = found->second;
  client.connected = false;
  client.last_seen_ms = clock_.UnixMillis();
  client.running.reset();
  client.queue.clear();
  for (size_t position = 0; position < jobs_.size(); ++position) {
    FeedLocked(*jobs_[position], ClientDisconnected{name});
  }
}

// ---- queues ----

void Federation::Impl::EnqueueLocked(const std::string& name, TaskKey key) {
  const auto found = clients_.find(name);
  if (found == clients_.end() || !found->second.connected) return;
  Client& client = found->second;
  const bool there = client.running == key ||
                     std::find(client.queue.begin(), client.queue.end(), key) != client.queue.end();
  if (!there) client.queue.push_back(std::move(key));
  PumpLocked(name, client);
}

void Federation::Impl::TaskOverLocked(const std::string& name, const TaskKey& key) {
  const auto found = clients_.find(name);
  if (found == clients_.end()) return;
  Client& client = found->second;
  std::erase(client.queue, key);
  if (client.running == key) client.running.reset();
  PumpLocked(name, client);
}

void Federation::Impl::PumpLocked(const std::string& name, Client& client) {
  while (client.connected && !client.running && !client.queue.empty()) {
    const TaskKey key = std::move(client.queue.front());
    client.queue.pop_front();
    const std::optional<ClientTask> task = TaskOfLocked(key);
    if (!task) continue;
    client.running = key;
    gateway_.Send(name, *task);
  }
}

// The task as it stands now; nullopt when its round has gone by.
std::optional<ClientTask> Federation::Impl::TaskOfLocked(const TaskKey& key) {
  const Job* const job = FindLocked(key.job);
  if (job == nullptr || job->engine == nullptr) return std::nullopt;
  const EngineState& state = job->engine->state();
  const bool training = key.attempt > 0 && state.phase == Phase::kOpen &&
                        key.round == state.round + 1 && key.attempt == state.attempt;
  const bool evaluation =
      key.attempt == 0 && state.phase == Phase::kEvaluating && key.round == state.round;
  if (!training && !evaluation) return std::nullopt;
  const ModelRecord& model = job->models.rbegin()->second;
  ClientTask task;
  task.kind = training ? ClientTask::Kind::kTrain : ClientTask::Kind::kEvaluate;
  task.job_id = key.job;
  task.round = key.round;
  task.attempt = key.attempt;
  task.job_document = job->record.document;
  task.state_sha256 = model.sha256;
  task.state_bytes = model.bytes;
  task.deadline = std::max(state.deadline - Now(), milliseconds(0));
  task.epoch = epoch_;
  return task;
}

absl::StatusOr<std::unique_ptr<BlobReader>> Federation::Impl::OpenState(const std::string& client,
                                                                        const std::string& sha256) {
  const std::lock_guard lock(mutex_);
  for (const auto& job : jobs_) {
    if (job->engine == nullptr || !job->engine->state().cohort.contains(client)) continue;
    const ModelRecord& model = job->models.rbegin()->second;
    if (model.sha256 != sha256) continue;
    job->bytes_down += static_cast<int64_t>(model.bytes);
    return blobs_.Open(sha256);
  }
  return Refuse(absl::StatusCode::kPermissionDenied,
                "state: got a hash that belongs to no task of '" + client + "'", Remedy::kResync);
}

// ---- reports ----

std::vector<absl::Status> Federation::Impl::Report(const std::vector<ClientReport>& reports) {
  std::vector<absl::Status> answers(reports.size());
  std::vector<Write> writes;
  std::vector<size_t> written;  // positions in `reports`
  {
    const std::lock_guard lock(mutex_);
    for (size_t row = 0; row < reports.size(); ++row) {
      absl::StatusOr<std::optional<Write>> write =
          std::visit([this](const auto& report) { return WriteOfLocked(report); }, reports[row]);
      answers[row] = write.status();
      if (!write.ok() || !write->has_value()) continue;
      writes.push_back(*std::move(*write));
      written.push_back(row);
    }
  }
  if (writes.empty()) return answers;
  const absl::Status committed = states_.Commit(writes);
  // One of them may spoil it for all, but a full disk is full for each of them.
  const bool full = committed.code() == absl::StatusCode::kResourceExhausted;
  if (!committed.ok() && !full && written.size() > 1) {
    for (const size_t row : written) answers[row] = Report({reports[row]}).front();
    return answers;
  }
  if (committed.code() == absl::StatusCode::kAlreadyExists) return answers;  // durable before
  const std::lock_guard lock(mutex_);
  for (const size_t row : written) {
    answers[row] = committed;
    if (!committed.ok()) continue;
    std::visit([this](const auto& report) { StoredLocked(report); }, reports[row]);
  }
  return answers;
}

// What must be written; nothing when the report makes no difference any more.
absl::StatusOr<std::optional<Write>> Federation::Impl::WriteOfLocked(const FailureRecord& report) {
  const Job* const job = FindLocked(report.job);
  if (job == nullptr) {
    return Refuse(absl::StatusCode::kNotFound, "job: got '" + report.job + "', not known here");
  }
  const bool wanted =
      job->engine != nullptr &&
      (report.attempt == 0 ? job->engine->WantsReport(report.client, report.round)
                           : job->engine->Wants(report.client, report.round, report.attempt));
  if (!wanted) return std::nullopt;
  return PutFailure{TidyFailure(report)};
}

void Federation::Impl::StoredLocked(const FailureRecord& report) {
  Job& job = *FindLocked(report.job);
  job.failures.push_back(TidyFailure(report));
  const FailureRecord& failure = job.failures.back();
  EmitLocked(job, "client.dropped", failure.round,
             {{"client", failure.client}, {"reason", failure.code + ": " + failure.text}});
  TaskOverLocked(failure.client, {failure.job, failure.round, failure.attempt});
  FeedLocked(job, TaskFailed{failure.client, failure.round, failure.attempt});
}

absl::StatusOr<std::optional<Write>> Federation::Impl::WriteOfLocked(
    const EvaluationReportRecord& report) {
  RV_RETURN_IF_ERROR(CheckEvaluation(report));
  RV_ASSIGN_OR_RETURN(const Job* const job, OpenJobLocked(report.job));
  for (const EvaluationReportRecord& known : job->reports) {
    if (known.round == report.round && known.client == report.client) return std::nullopt;
  }
  if (job->engine->WantsReport(report.client, report.round)) return PutEvaluationReport{report};
  return Refuse(absl::StatusCode::kFailedPrecondition,
                "job " + report.job + ": no evaluation of round " + std::to_string(report.round) +
                    " is open for '" + report.client + "'",
                Remedy::kResync);
}

void Federation::Impl::StoredLocked(const EvaluationReportRecord& report) {
  Job& job = *FindLocked(report.job);
  job.reports.push_back(report);
  TaskOverLocked(report.client, {report.job, report.round, 0});
  FeedLocked(job, ReportStored{report.client, report.round});
}

// ---- uploads ----

absl::StatusOr<std::shared_ptr<UploadSession>> Federation::Impl::BeginUpload(
    const std::string& client, const UpdateHeader& header) {
  RV_RETURN_IF_ERROR(CheckCounts(header));
  const std::lock_guard lock(mutex_);
  Job* const job = FindLocked(header.job_id);
  if (job == nullptr) {
    return Refuse(absl::StatusCode::kNotFound, "job: got '" + header.job_id + "', not known here");
  }
  for (const auto* known : {&job->updates, &job->previous}) {
    for (const UpdateRecord& update : *known) {
      if (update.client != client || update.round != header.round ||
          update.attempt != header.attempt) {
        continue;
      }
      if (update.sha256 == header.sha256)
        return std::make_shared<IncomingUpdate>(*this, update, blobs_);
      return Refuse(absl::StatusCode::kAlreadyExists,
                    "update of round " + std::to_string(header.round) + ": got hash " +
                        header.sha256 + ", want " + update.sha256 + ", which was accepted",
                    Remedy::kResync);
    }
  }
  if (job->engine == nullptr) return RefuseStale(header, "the job has ended");
  const EngineState& state = job->engine->state();
  if (header.round != state.round + 1 || header.attempt != state.attempt ||
      state.phase != Phase::kOpen) {
    return RefuseStale(header, "is not open");
  }
  if (!state.cohort.contains(client)) {
    return Refuse(absl::StatusCode::kPermissionDenied,
                  "'" + client + "' is not in the cohort of round " + std::to_string(header.round));
  }
  if (!job->engine->Wants(client, header.round, header.attempt)) {
    return RefuseStale(header, "'" + client + "' gave this task up");
  }
  const uint64_t limit = LargestUpdateBytes(job->plan->manifest);
  if (header.bytes == 0 || header.bytes > limit) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "update: got " + std::to_string(header.bytes) + " bytes, want 1.." + std::to_string(limit),
        Remedy::kLeaveRun);
  }
  RV_ASSIGN_OR_RETURN(const int64_t weight,
                      WeightOf(job->plan->spec.strategy, header.examples, header.tokens,
                               static_cast<int64_t>(state.cohort.size())));
  if (blobs_.FreeBytes() < header.bytes + config_.low_water_bytes) {
    return Refuse(absl::StatusCode::kResourceExhausted,
                  "state directory: too little disk space is left for uploads; want " +
                      std::to_string(header.bytes + config_.low_water_bytes) + " bytes",
                  Remedy::kRetryLater);
  }
  std::shared_ptr<IncomingUpdate>& upload = job->uploads[client];
  if (upload != nullptr && upload->header().sha256 == header.sha256 &&
      upload->header().bytes == header.bytes) {
    return upload;
  }
  if (upload != nullptr) upload->End();
  upload = std::make_shared<IncomingUpdate>(*this, client, header, weight, job->plan, blobs_);
  return upload;
}

absl::Status Federation::Impl::StartCommit(const std::string& client, const UpdateHeader& header) {
  const std::lock_guard lock(mutex_);
  Job* const job = FindLocked(header.job_id);
  if (job == nullptr || job->engine == nullptr ||
      !job->engine->Wants(client, header.round, header.attempt)) {
    return RefuseStale(header, "takes no more updates");
  }
  ++job->committing;
  PinLocked(header.sha256);
  return absl::OkStatus();
}

void Federation::Impl::FinishCommit(const ReceivedUpdate& received, const absl::Status& outcome) {
  const UpdateRecord& update = received.record;
  const std::lock_guard lock(mutex_);
  Job* const job = FindLocked(update.job);
  --job->committing;
  // Durable, but its attempt was abandoned meanwhile: it must not reach the sum of the next one.
  const RoundRecord& last = job->rounds.back();
  const bool open = job->engine != nullptr && last.round == update.round &&
                    last.attempt == update.attempt && last.state == RoundState::kOpen;
  if (outcome.ok() && open) {
    job->updates.push_back(update);
    job->received.push_back(received);
    if (job->received.size() - job->summed >= FixedPointSum::kTogether) {
      work_.push_back({job->record.id});
      work_ready_.notify_one();
    }
    job->uploads.erase(update.client);
    EmitLocked(*job, "client.completed", update.round,
               {{"client", update.client},
                {"loss", update.loss},
                {"examples", update.examples},
                {"tokens", update.tokens},
                {"bytes", static_cast<int64_t>(update.bytes)}});
    TaskOverLocked(update.client, {update.job, update.round, update.attempt});
    FeedLocked(*job, UpdateStored{update.client, update.round, update.attempt});
  } else {
    UnpinLocked(update.sha256);
    DrainLocked(*job);
  }
}

void Federation::Impl::DropUpload(const std::string& id, const std::string& client,
                                  const IncomingUpdate* upload) {
  const std::lock_guard lock(mutex_);
  Job* const job = FindLocked(id);
  if (job == nullptr) return;
  const auto found = job->uploads.find(client);
  if (found != job->uploads.end() && found->second.get() == upload) job->uploads.erase(found);
}

void Federation::Impl::EndUploadsLocked(Job& job) {
  for (const auto& [client, upload] : job.uploads) upload->End();
  job.uploads.clear();
  SweepPartialsLocked();
}

// Half uploads wait for their clients while the round is open, and no longer.
void Federation::Impl::SweepPartialsLocked() {
  std::set<std::string, std::less<>> open;
  for (const auto& job : jobs_) {
    if (job->engine == nullptr || job->rounds.empty()) continue;
    const RoundRecord& round = job->rounds.back();
    if (round.state == RoundState::kOpen) {
      open.insert(PartialKeyPrefix(round.job, round.round, round.attempt));
    }
  }
  (void)blobs_.SweepKept(
      [&](std::string_view key) { return open.contains(key.substr(0, key.find('-') + 1)); });
}

}  // namespace rivulet
