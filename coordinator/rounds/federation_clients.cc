// Federation: clients, their queues, what they report.
#include <algorithm>
#include <utility>

#include "aggregation/scalars/scalar_replay.h"
#include "common/job/validate_private.h"
#include "common/rpc/chunk.h"
#include "common/utf8.h"
#include "coordinator/rounds/federation_impl.h"
#include "coordinator/rounds/snapshots.h"
#include "privacy/masking/task_terms.h"

namespace rivulet {

using std::chrono::milliseconds;

namespace {

constexpr size_t kLongestName = 200;
constexpr size_t kLongestCode = 64;
constexpr size_t kLongestText = 1000;
constexpr int64_t kMostFixed = int64_t{1} << 50;  // 2^30 nats

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Names stand one a line in the database.
bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= kLongestName &&
         std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < 32 || c == 127; });
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
  const bool own = failure.code != kExcluded && failure.code != kLeftOut;
  failure.code = own ? Tidy(failure.code, kLongestCode) : "failed";
  failure.text = Tidy(failure.text, kLongestText);
  return failure;
}

}  // namespace

// ---- connections ----

bool Federation::Impl::EligibleLocked(const Job& job, const Client& client) const {
  if (!client.connected || job.excluded.contains(client.facts.name)) return false;
  if (job.plan->masked && client.facts.fingerprint.empty()) return false;  // signs nothing
  const std::string& dataset = job.plan->spec.data.dataset;
  if (!dataset.empty() && !Contains(client.facts.datasets, dataset)) return false;
  return job.plan->base_hash.empty() || Contains(client.facts.base_models, job.plan->base_hash);
}

void Federation::Impl::Connected(const ClientFacts& facts) {
  if (!IsName(facts.name)) return;
  const std::lock_guard lock(mutex_);
  Client& client = clients_[facts.name];
  if (client.facts.fingerprint != facts.fingerprint) {
    client.former_fingerprint = client.facts.fingerprint;
    client.former_certificate = client.facts.certificate;
  }
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
      MaskingReturnedLocked(job, facts.name);
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
    const std::optional<ClientTask> task = TaskOfLocked(name, key);
    if (!task) continue;
    client.running = key;
    gateway_.Send(name, *task);
  }
}

// The task as it stands now; nullopt when its round has gone by.
std::optional<ClientTask> Federation::Impl::TaskOfLocked(const std::string& client,
                                                         const TaskKey& key) {
  Job* const job = FindLocked(key.job);
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
  task.job_sha256 = job->document_sha256;
  task.state_sha256 = model.sha256;
  task.state_bytes = model.bytes;
  if (evaluation && job->average) {  // to which a pool's log does not lead
    task.state_sha256 = job->average->sha256;
    task.state_bytes = job->average->bytes;
    if (KeepsAverage(job->plan->spec)) {
      task.log = StateLog{model.log_sha256, model.log_bytes, model.log_from};
      BringLogLocked(*job, client, task);
    }
  } else if (KeepsLog(job->plan->spec)) {
    task.log = StateLog{model.log_sha256, model.log_bytes, model.log_from};
    const ModelRecord& snapshot = SnapshotOf(*job);
    if (snapshot.sha256 != model.sha256) {
      task.log->snapshot =
          StateSnapshot{snapshot.sha256, snapshot.bytes, PositionOf(*job->plan, snapshot)};
    }
    BringLogLocked(*job, client, task);
  }
  if (training && IsSecondPass(job->plan->spec, key.round)) {
    task.log = StateLog{model.log_sha256, model.log_bytes, 0};
  }
  if (training) task.choice = job->choice;
  task.deadline = std::max(state.deadline - Now(), milliseconds(0));
  task.epoch = epoch_;
  if (training && job->masked != nullptr) {
    const auto parameters = job->masked->ParametersFor(client);
    if (!parameters.ok()) return std::nullopt;
    const double clip_norm = TermsOfLocked(*job, state.cohort.size()).clip_norm;
    task.masking = EncodeTaskTerms(job->plan->masked->OfRound(clip_norm), *parameters);
  }
  return task;
}

// What the client lacks of the log, where it is short: a call less. Without it the client asks.
void Federation::Impl::BringLogLocked(Job& job, const std::string& client, ClientTask& task) {
  StateLog& log = *task.log;
  const auto stands = job.stands.find(client);
  const auto held = stands != job.stands.end() ? std::optional(stands->second) : std::nullopt;
  const uint64_t first = MissingFrom(log, held, job.plan->scalars->pooled(), task.state_bytes)
                             .value_or(log.bytes - log.tail());
  const uint64_t missing = log.bytes - first;
  if (missing == 0 || missing > kInlineLogBytes) return;
  if (job.log_end.first != log.sha256) {
    const auto blob = blobs_.Open(log.sha256);
    std::string end(std::min(log.bytes, kInlineLogBytes), '\0');
    if (!blob.ok() ||
        !(*blob)->Read(log.bytes - end.size(), std::as_writable_bytes(std::span(end))).ok()) {
      return;
    }
    job.log_end = {log.sha256, std::move(end)};
  }
  log.rest = job.log_end.second.substr(job.log_end.second.size() - missing);
  job.bytes_down += static_cast<int64_t>(missing);
}

// After an answer to a task: what it was about is known to the client.
void Federation::Impl::StandsAtTodayLocked(Job& job, const std::string& client) {
  if (job.plan == nullptr || !KeepsLog(job.plan->spec)) return;
  const ModelRecord& model = job.models.rbegin()->second;
  job.stands[client] = model.log_from + model.log_bytes;
}

absl::StatusOr<std::unique_ptr<BlobReader>> Federation::Impl::OpenState(const std::string& client,
                                                                        const std::string& sha256,
                                                                        uint64_t offset) {
  const std::lock_guard lock(mutex_);
  for (const auto& job : jobs_) {
    if (job->engine == nullptr || !job->engine->state().cohort.contains(client)) continue;
    const bool evaluates = job->engine->state().phase == Phase::kEvaluating;
    const bool averaged = evaluates && job->average && job->average->sha256 == sha256;
    if (averaged && job->average->stored) {
      const uint64_t bytes = job->average->bytes;
      job->bytes_down += static_cast<int64_t>(bytes - std::min(bytes, offset));
      return blobs_.Open(sha256);
    }
    const ModelRecord &model = job->models.rbegin()->second, &snapshot = SnapshotOf(*job);
    const bool log = !sha256.empty() && model.log_sha256 == sha256;
    const bool former =
        std::find(job->former.begin(), job->former.end(), sha256) != job->former.end();
    const bool known = log || former || averaged || model.sha256 == sha256;
    if (!known && snapshot.sha256 != sha256) continue;
    if (former && snapshot.sha256 != sha256) {
      RV_ASSIGN_OR_RETURN(std::unique_ptr<BlobReader> blob, blobs_.Open(sha256));
      job->bytes_down += static_cast<int64_t>(blob->size() - std::min(blob->size(), offset));
      return blob;
    }
    if (!log && snapshot.sha256 != sha256) {  // from a snapshot it came to another state
      const absl::Status asked = AskForStateLocked(*job);
      return Refuse(absl::StatusCode::kUnavailable,
                    "state of round " + std::to_string(model.round) + ": " +
                        (asked.ok() ? "is being stored, want it asked for again"
                                    : std::string(asked.message())),
                    Remedy::kRetryLater);
    }
    const uint64_t bytes = log ? model.log_bytes : snapshot.bytes;
    job->bytes_down += static_cast<int64_t>(bytes - std::min(bytes, offset));
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
  if (failure.attempt > 0) MaskingGoneLocked(job, failure);
  FeedLocked(job, TaskFailed{failure.client, failure.round, failure.attempt, PredicateOf(failure),
                             RefusesForGood(failure)});
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
  // Else it may have fetched the average, and still lack what was logged.
  if (!job.average) StandsAtTodayLocked(job, report.client);
  TaskOverLocked(report.client, {report.job, report.round, 0});
  FeedLocked(job, ReportStored{report.client, report.round});
}

}  // namespace rivulet
