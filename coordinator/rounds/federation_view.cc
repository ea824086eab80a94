// Federation: what people see of it.
#include <algorithm>
#include <iterator>
#include <utility>

#include "common/job/validate_private.h"
#include "coordinator/rounds/federation_impl.h"

namespace rivulet {

namespace {

constexpr size_t kCommonest = 3;

using Names = std::vector<std::string>;
using Attempt = std::pair<uint64_t, uint32_t>;  // round, attempt

// `asked` without `known`; both sorted.
Names Without(const Names& asked, const Names& known) {
  Names rest;
  std::set_difference(asked.begin(), asked.end(), known.begin(), known.end(),
                      std::back_inserter(rest));
  return rest;
}

// Who gave up in each attempt, sorted: one pass, however many rounds there were.
std::map<Attempt, Names> FailedByAttempt(const std::vector<FailureRecord>& failures) {
  std::map<Attempt, Names> failed;
  for (const FailureRecord& failure : failures) {
    failed[{failure.round, failure.attempt}].push_back(failure.client);
  }
  for (auto& [attempt, names] : failed) std::sort(names.begin(), names.end());
  return failed;
}

using Reports = std::vector<const EvaluationReportRecord*>;

// Sorted by client in each round.
std::map<uint64_t, Reports> ByRound(const std::vector<EvaluationReportRecord>& reports) {
  std::map<uint64_t, Reports> by_round;
  for (const EvaluationReportRecord& report : reports) by_round[report.round].push_back(&report);
  for (auto& [round, rows] : by_round) {
    std::sort(rows.begin(), rows.end(),
              [](const auto* a, const auto* b) { return a->client < b->client; });
  }
  return by_round;
}

// `each`: with the figures of every client. Without, the sums appear once all are in them: on the
// way, what one report adds would show.
EvaluationView EvaluationOf(const EvaluationRecord& record, const Reports& reports, bool each) {
  EvaluationView view;
  view.round = record.round;
  view.done = record.done;
  double loss = 0;  // as in EndEvaluation
  int64_t correct = 0;
  Names reported;
  for (const EvaluationReportRecord* report : reports) {
    const double count = static_cast<double>(std::max<int64_t>(report->counted, 1));
    const double summed = static_cast<double>(report->loss_fixed);
    if (each) {
      view.clients.push_back({report->client, summed * 0x1p-20 / count,
                              static_cast<double>(report->correct) / count, report->counted});
    }
    reported.push_back(report->client);
    loss += summed;
    correct += report->correct;
    view.counted += report->counted;
  }
  view.missing = Without(record.clients, reported);
  if (!each && !record.done) {
    view.counted = 0;
    return view;
  }
  const double count = static_cast<double>(std::max<int64_t>(view.counted, 1));
  view.loss = loss * 0x1p-20 / count;
  view.accuracy = static_cast<double>(correct) / count;
  return view;
}

std::vector<FailureCount> Commonest(const std::vector<FailureRecord>& failures) {
  std::map<std::string, FailureCount> by_code;
  for (const FailureRecord& failure : failures) {
    FailureCount& count = by_code[failure.code];
    count.code = failure.code;
    count.text = failure.text;
    ++count.count;
  }
  std::vector<FailureCount> all;
  for (auto& [code, count] : by_code) all.push_back(std::move(count));
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.count > b.count; });
  if (all.size() > kCommonest) all.resize(kCommonest);
  return all;
}

// An update as a file of F32 is as large as the state it moves: it has the same tensors.
int64_t RawBytesUp(const RoundRecord& round, const std::map<uint64_t, ModelRecord>& models) {
  const auto model = models.find(round.round);
  if (round.state != RoundState::kDone || model == models.end()) return 0;
  return static_cast<int64_t>(round.counted.size() * model->second.bytes);
}

}  // namespace

const char* LastEventTypeOf(JobState ended) {
  return ended == JobState::kFinished  ? "job.completed"
         : ended == JobState::kStopped ? "job.stopped"
                                       : "job.failed";
}

JobEvent LastEventOf(const JobView& ended) {
  return {LastEventTypeOf(ended.state),
          ended.id,
          ended.round,
          ended.ended_ms,
          {{"reason", ended.reason}, {"exit", int64_t{ended.exit_code}}}};
}

// What views need of a job that may have ended long ago.
void Federation::Impl::DescribeLocked(Job& job, const JobSpec& spec) {
  job.num_rounds = static_cast<uint64_t>(spec.job.num_rounds);
  job.noised = spec.privacy.mechanism != "none";
  job.evaluates_in_clear = EvaluatesInClear(spec);
  if (IsPrivate(spec)) job.data_set = DataSetOf(spec);
}

JobView Federation::Impl::ViewLocked(const Job& job, bool whole) const {
  JobView view;
  view.id = job.record.id;
  view.name = job.record.name;
  view.state = job.record.state;
  view.exit_code = job.record.exit_code;
  view.reason = job.record.reason;
  view.submitted_ms = job.record.submitted_ms;
  view.ended_ms = job.record.ended_ms;
  view.elapsed_ms = (view.ended_ms > 0 ? view.ended_ms : clock_.UnixMillis()) - view.submitted_ms;
  view.bytes_up = job.all_bytes_up;
  view.protocol_bytes_up = job.all_protocol_bytes_up;
  view.bytes_down = job.all_bytes_down + job.bytes_down;
  view.num_rounds = job.num_rounds;
  view.evaluates_in_clear = job.evaluates_in_clear;
  if (!job.models.empty()) {
    const ModelRecord& model = job.models.rbegin()->second;
    view.round = model.round;
    view.state_hash = model.state_hash;
    view.state_sha256 = model.sha256;
    view.state_bytes = model.bytes;
  }
  if (job.engine != nullptr) {
    view.waiting = job.engine->Waiting(Now());
    if (job.masked != nullptr && !job.opening) {
      if (std::string masks = job.masked->Waiting(); !masks.empty()) view.waiting = masks;
    }
    if (IsPrivate(job.plan->spec)) view.target_epsilon = job.plan->spec.privacy.target_epsilon;
    view.attempt = job.engine->state().attempt;
    view.eligible_connected = static_cast<int>(job.engine->connected());
  }
  for (const RoundRecord& round : job.rounds) view.raw_bytes_up += RawBytesUp(round, job.models);
  view.failures = Commonest(job.failures);
  for (const auto& [client, why] : job.excluded) view.excluded.push_back(client + ": " + why);
  if (!job.releases.empty()) {
    view.epsilon = job.releases.back().eps_pld;
    view.delta = job.releases.back().delta;
  }
  if (!whole) return view;
  view.document = job.record.document;
  std::map<Attempt, Names> failed = FailedByAttempt(job.failures);
  for (const RoundRecord& round : job.rounds) {
    view.rounds.push_back(
        RoundViewLocked(job, round, std::move(failed[{round.round, round.attempt}])));
  }
  std::map<uint64_t, Reports> reports = ByRound(job.reports);
  for (const EvaluationRecord& evaluation : job.evaluations) {
    view.evaluations.push_back(EvaluationOf(evaluation, reports[evaluation.round], !job.noised));
  }
  return view;
}

RoundView Federation::Impl::RoundViewLocked(const Job& job, const RoundRecord& round,
                                            std::vector<std::string> failed) const {
  RoundView view;
  view.round = round.round;
  view.attempt = round.attempt;
  view.state = round.state;
  view.cohort = round.cohort;
  view.reported = round.counted;
  view.needed = round.needed;
  view.figures = round.figures;
  view.reason = round.reason;
  if (round.state == RoundState::kOpen && job.engine != nullptr) {
    const EngineState& state = job.engine->state();
    view.reported = {state.reported.begin(), state.reported.end()};
  }
  view.failed = std::move(failed);
  if (round.state != RoundState::kOpen) {
    view.missing = Without(Without(round.cohort, round.counted), view.failed);
  }
  const auto model = job.models.find(round.round);
  if (round.state == RoundState::kDone && model != job.models.end()) {
    view.state_hash = model->second.state_hash;
  }
  view.raw_bytes_up = RawBytesUp(round, job.models);
  return view;
}

std::vector<JobView> Federation::Impl::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<JobView> views;
  for (const auto& job : jobs_) views.push_back(ViewLocked(*job, false));
  return views;
}

absl::StatusOr<std::string> Federation::Impl::Resolve(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> found;
  for (const auto& job : jobs_) {
    if (job->record.id == name) return name;
    if (!name.empty() && job->record.id.starts_with(name)) found.push_back(job->record.id);
  }
  if (name == "@last" && !jobs_.empty()) return jobs_.back()->record.id;
  if (found.size() == 1) return found[0];
  if (found.empty()) {
    return Refuse(absl::StatusCode::kNotFound, "job: got '" + name + "', which is not known here");
  }
  return Refuse(absl::StatusCode::kInvalidArgument,
                "job: got '" + name + "', which begins the ids of " + std::to_string(found.size()) +
                    " jobs; want more of it");
}

absl::StatusOr<JobView> Federation::Impl::Show(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const Job* const job = FindLocked(id);
  if (job != nullptr) return ViewLocked(*job, true);
  return Refuse(absl::StatusCode::kNotFound, "job: got '" + id + "', which is not known here");
}

absl::StatusOr<bool> Federation::Impl::Ended(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const Job* const job = FindLocked(id);
  if (job != nullptr) return job->record.state >= JobState::kFinished;
  return Refuse(absl::StatusCode::kNotFound, "job: got '" + id + "', which is not known here");
}

absl::StatusOr<std::vector<NamedBlob>> Federation::Impl::Downloads(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const Job* const job = FindLocked(id);
  if (job == nullptr) {
    return Refuse(absl::StatusCode::kNotFound, "job: got '" + id + "', which is not known here");
  }
  std::vector<NamedBlob> blobs;
  if (!job->models.empty()) {
    const ModelRecord& last = job->models.rbegin()->second;
    blobs.push_back({"state", last.sha256, last.bytes, last.state_hash});
  }
  for (const auto& [round, model] : job->models) {
    if (!pins_.contains(model.sha256)) continue;
    blobs.push_back(
        {"state-" + std::to_string(round), model.sha256, model.bytes, model.state_hash});
  }
  return blobs;
}

std::vector<ClientView> Federation::Impl::Clients() const {
  const std::lock_guard lock(mutex_);
  std::vector<ClientView> views;
  for (const auto& [name, client] : clients_) {
    ClientView view;
    view.name = name;
    view.connected = client.connected;
    view.queued = static_cast<int>(client.queue.size());
    view.last_seen_ms = client.last_seen_ms;
    if (client.running) {
      view.task = (client.running->attempt == 0 ? "evaluate " : "train ") + client.running->job +
                  " round " + std::to_string(client.running->round);
    }
    views.push_back(std::move(view));
  }
  return views;
}

// ---- watchers ----

void Federation::Impl::EmitLocked(const Job& job, const char* type, uint64_t round,
                                  std::vector<std::pair<std::string, JobEvent::Value>> data) {
  changed_.notify_all();
  if (watchers_.empty()) return;
  const JobEvent event{type, job.record.id, round, clock_.UnixMillis(), std::move(data)};
  for (const auto& [id, watcher] : watchers_) {
    if (watcher.first.empty() || watcher.first == job.record.id) watcher.second(event);
  }
}

uint64_t Federation::Impl::Subscribe(const std::string& job, Watcher watcher) {
  const std::lock_guard lock(mutex_);
  watchers_[next_watcher_] = {job, std::move(watcher)};
  return next_watcher_++;
}

void Federation::Impl::Unsubscribe(uint64_t subscription) {
  const std::lock_guard lock(mutex_);
  watchers_.erase(subscription);
}

absl::StatusOr<JobView> Federation::Impl::WaitForEnd(const std::string& id,
                                                     std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  const Job* const job = FindLocked(id);
  if (job == nullptr) {
    return Refuse(absl::StatusCode::kNotFound, "job: got '" + id + "', which is not known here");
  }
  changed_.wait_for(lock, patience, [job] { return job->engine == nullptr; });
  return ViewLocked(*job, true);
}

}  // namespace rivulet
