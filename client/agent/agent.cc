#include "client/agent/agent.h"

#include <spdlog/spdlog.h>

#include <random>

#include "client/agent/failure_report.h"
#include "common/io/file.h"

namespace rivulet {
namespace {

constexpr uint64_t kMaxState = uint64_t{64} << 30;
constexpr int kMaxDownloads = 20;  // resumed attempts without reaching the end

// Waits must differ between agents that lost the same coordinator: a seed of the system's.
std::function<double()> Jitter() {
  auto engine = std::make_shared<std::mt19937_64>(std::random_device{}());
  return [engine] { return std::uniform_real_distribution<double>(0, 1)(*engine); };
}

// All of the error for this machine's log; for the coordinator only what may be said.
Outcome FailureOf(const TaskKey& key, const absl::Status& status) {
  spdlog::warn("{}: {}", TextOf(key), std::string(status.message()));
  FailureReport report = ReportOf(status);
  Outcome outcome;
  outcome.kind = Outcome::Kind::kFailed;
  outcome.key = key;
  outcome.code = std::move(report.code);
  outcome.text = std::move(report.text);
  return outcome;
}

absl::Status NoMasks() {
  const std::string text = "masking: this agent has no certificate, and so no masks";
  return WithReport(Refuse(absl::StatusCode::kFailedPrecondition, text), "failed", text);
}

// Of a download: it may succeed with the next connection.
bool FailedOnTheWay(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kInternal:  // gRPC: a stream that was reset
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:  // the round is over
      return true;
    default:
      return false;
  }
}

void WaitUnless(const std::stop_token& aborted, std::chrono::milliseconds time) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any().wait_for(lock, aborted, time, [] { return false; });
}

}  // namespace

Agent::Lane::~Lane() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  wake_.notify_all();
  thread_.join();
}

void Agent::Lane::Post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
  }
  wake_.notify_one();
}

void Agent::Lane::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
}

Agent::Agent(AgentFacts facts, SessionConfig config, AgentStore& store, CoordinatorLink& link,
             LocalWork& work, MaskingDesk* desk, ReleaseBook* releases)
    : facts_(std::move(facts)),
      store_(store),
      link_(link),
      work_(work),
      desk_(desk),
      releases_(releases),
      config_(config) {}

Agent::~Agent() {
  abort_.request_stop();
  link_.Close();
}

absl::Status Agent::Run() {
  RV_ASSIGN_OR_RETURN(SessionMemory memory, store_.Load());
  session_ = std::make_unique<Session>(config_, std::move(memory), Jitter());
  working_ = std::make_unique<Lane>();
  uploading_ = std::make_unique<Lane>();
  masking_ = std::make_unique<Lane>();
  Post(Started{});
  absl::Status failure;
  while (!ended_.has_value() && failure.ok()) {
    for (const SessionAction& action : session_->Step(Wait())) {
      failure = std::visit([this](const auto& detail) { return Perform(detail); }, action);
      if (!failure.ok() || ended_.has_value()) break;
    }
  }
  abort_.request_stop();
  link_.Close();
  working_.reset();
  uploading_.reset();
  masking_.reset();
  return failure.ok() ? *ended_ : failure;
}

void Agent::Post(SessionEvent event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  arrived_.notify_one();
}

SessionEvent Agent::Wait() {
  std::unique_lock lock(mutex_);
  while (true) {
    if (const auto timer = timers_.TakeDue(std::chrono::steady_clock::now())) {
      return TimerFired{*timer};
    }
    if (!events_.empty()) {
      SessionEvent event = std::move(events_.front());
      events_.pop_front();
      return event;
    }
    if (const auto due = timers_.Next()) {
      arrived_.wait_until(lock, *due);
    } else {
      arrived_.wait(lock);
    }
  }
}

absl::Status Agent::Perform(const OpenStream&) {
  if (desk_ != nullptr) {
    if (const absl::Status read = desk_->ReadIdentity(); !read.ok()) {
      spdlog::debug("masking: {}", std::string(read.message()));  // the link says what is wrong
    }
  }
  link_.Open(facts_, [this](SessionEvent event) { Post(std::move(event)); });
  return absl::OkStatus();
}

absl::Status Agent::Perform(const CloseStream&) {
  link_.Close();
  return absl::OkStatus();
}

absl::Status Agent::Perform(const RememberEpoch& action) { return store_.PutEpoch(action.epoch); }
absl::Status Agent::Perform(const RememberStart& action) { return store_.PutStart(action.key); }
absl::Status Agent::Perform(const TakeBackStart& action) {
  return store_.TakeBackStart(action.key);
}
absl::Status Agent::Perform(const Keep& action) { return store_.PutOutcome(action.outcome); }
absl::Status Agent::Perform(const Forget& action) { return store_.Forget(action.key); }

absl::Status Agent::Perform(const StartWork& action) {
  const TaskKey& key = action.task.key;
  spdlog::info("{}: begun", TextOf(key));
  if (action.task.kind == Assignment::Kind::kEvaluate && desk_ != nullptr) {
    masking_->Post([this, key] { desk_->EndRounds(key.job, key.round); });
  }
  abort_ = std::stop_source();
  working_->Post([this, task = action.task, aborted = abort_.get_token()] {
    Post(WorkEnded{task.key, Work(task, aborted)});
  });
  return absl::OkStatus();
}

absl::Status Agent::Perform(const AbortWork&) {
  abort_.request_stop();
  return absl::OkStatus();
}

absl::Status Agent::Perform(const Deliver& action) {
  uploading_->Post([this, outcome = action.outcome] {
    const absl::Status sent = SendUpdate(outcome);
    if (sent.ok()) work_.Accepted(outcome.key);
    Post(Reported{outcome.key, sent});
  });
  return absl::OkStatus();
}

absl::Status Agent::Perform(const Report& action) {
  link_.Report(action.outcome);
  return absl::OkStatus();
}

// What it returns is looked at where the task is worked on.
absl::Status Agent::Perform(const JoinMasking& action) {
  if (desk_ == nullptr) return absl::OkStatus();
  masking_->Post([this, task = action.task] {
    if (releases_ != nullptr && !releases_->Check(task).ok()) return;
    const absl::StatusOr<std::string> said = desk_->Begin(task);
    if (said.ok()) link_.SendMasking(task.key, *said);
  });
  return absl::OkStatus();
}

absl::Status Agent::Perform(const AnswerMasking& action) {
  if (desk_ == nullptr) return absl::OkStatus();
  masking_->Post([this, message = action.message] {
    MaskingDesk::Answer answer = desk_->On(message);
    if (answer.refused.has_value()) {
      Post(*std::move(answer.refused));
    } else if (!answer.bytes.empty()) {
      link_.SendMasking(message.key, answer.bytes);
    }
  });
  return absl::OkStatus();
}

absl::Status Agent::Perform(const SendMasking& action) {
  link_.SendMasking(action.key, action.bytes);
  return absl::OkStatus();
}

absl::Status Agent::Perform(const LeaveMasking& action) {
  if (desk_ == nullptr) return absl::OkStatus();
  masking_->Post([this, key = action.key] { desk_->Leave(key); });
  return absl::OkStatus();
}

absl::Status Agent::Perform(const Beat& action) {
  link_.Beat(action.activity);
  return absl::OkStatus();
}

absl::Status Agent::Perform(const StartTimer& action) {
  timers_.Set(action.timer, std::chrono::steady_clock::now() + action.after);
  return absl::OkStatus();
}

absl::Status Agent::Perform(const Say& action) {
  spdlog::log(action.warning ? spdlog::level::warn : spdlog::level::info, "{}", action.text);
  return absl::OkStatus();
}

absl::Status Agent::Perform(const Exit& action) {
  ended_ = action.status;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<WorkResult>> Agent::FetchAndDo(Assignment task,
                                                            const std::stop_token& aborted) {
  RV_RETURN_IF_ERROR(work_.Check(task));
  if (releases_ != nullptr) RV_RETURN_IF_ERROR(releases_->Check(task));
  if (!task.masking.empty()) {
    if (desk_ == nullptr) return NoMasks();
    RV_RETURN_IF_ERROR(desk_->Begin(task).status());
  }
  RV_ASSIGN_OR_RETURN(std::optional<std::string> state, FetchState(task, aborted));
  if (!state.has_value()) return std::nullopt;
  if (work_.LacksLog(task)) {
    const absl::StatusOr<std::string> log = FetchLog(*task.log, 0, aborted);
    if (FailedOnTheWay(log.status())) return std::nullopt;
    RV_RETURN_IF_ERROR(log.status());
    RV_RETURN_IF_ERROR(work_.TakeLog(task, *log));
  }
  if (!task.masking.empty()) {
    RV_ASSIGN_OR_RETURN(task.session_root, desk_->DirectionRoot(task, aborted));
  }
  RV_ASSIGN_OR_RETURN(WorkResult result,
                      work_.Do(task, std::make_shared<const std::string>(*std::move(state)),
                               [&aborted] { return aborted.stop_requested(); }));
  if (result.outcome.kind != Outcome::Kind::kTrained) return result;
  if (result.outcome.tokens > 0) {
    spdlog::info("{}: trained, loss {:.4f}, {} tokens", TextOf(task.key), result.outcome.loss,
                 result.outcome.tokens);
  } else {
    spdlog::info("{}: trained", TextOf(task.key));
  }
  if (task.masking.empty()) return result;
  return Mask(task, std::move(result), aborted);
}

// The figures are inside the vector: beside it they would say of one client what the mask hides.
absl::StatusOr<std::optional<WorkResult>> Agent::Mask(const Assignment& task, WorkResult result,
                                                      const std::stop_token& aborted) {
  const Outcome& figures = result.outcome;
  LocalUpdate update{std::move(result.file),  figures.examples, figures.tokens,
                     figures.steps,           figures.loss,     figures.grad_norm,
                     std::move(result.masked)};
  WorkResult masked;
  masked.outcome.kind = Outcome::Kind::kTrained;
  RV_ASSIGN_OR_RETURN(masked.file, desk_->File(task, update, aborted));
  work_.Propose(task.key, update.masked);
  return masked;
}

std::optional<Outcome> Agent::Work(const Assignment& task, const std::stop_token& aborted) {
  absl::StatusOr<std::optional<WorkResult>> done = FetchAndDo(task, aborted);
  if (aborted.stop_requested()) return std::nullopt;
  if (!done.ok()) return FailureOf(task.key, done.status());
  if (!done->has_value()) return std::nullopt;
  WorkResult& result = **done;
  Outcome outcome = std::move(result.outcome);
  outcome.key = task.key;
  if (outcome.kind == Outcome::Kind::kTrained) {
    // Once it is kept it may leave, after a restart too.
    if (releases_ != nullptr) {
      if (const absl::Status counted = releases_->Count(task); !counted.ok()) {
        return FailureOf(task.key, counted);
      }
    }
    outcome.sha256 = Sha256Hex(result.file);
    outcome.bytes = result.file.size();
    const absl::Status kept = WriteFileAtomically(store_.UpdatePath(task.key), result.file, 0600);
    if (!kept.ok()) return FailureOf(task.key, OfTheDisk(kept));
  }
  return outcome;
}

std::optional<std::string> Agent::MakeState(const Assignment& task,
                                            const std::stop_token& aborted) {
  if (!task.log) return std::nullopt;
  const std::optional<uint64_t> from = work_.MissingLog(task);
  if (!from) return std::nullopt;
  const absl::StatusOr<std::string> rest = FetchLog(*task.log, *from, aborted);
  absl::StatusOr<std::string> state =
      rest.ok() ? ReplayLog(task, *rest, "", aborted) : rest.status();
  if (state.ok()) return *std::move(state);
  if (!aborted.stop_requested()) {
    spdlog::warn("{}: {}; {} is fetched instead", TextOf(task.key),
                 std::string(state.status().message()),
                 task.log->snapshot ? "a snapshot" : "the state");
  }
  return std::nullopt;
}

absl::StatusOr<std::optional<std::string>> Agent::MakeFromSnapshot(const Assignment& task,
                                                                   const std::stop_token& aborted) {
  const StateLog& log = *task.log;
  const StateSnapshot& snapshot = *log.snapshot;
  RV_ASSIGN_OR_RETURN(const std::optional<std::string> file,
                      FetchFile(task.key, snapshot.sha256, snapshot.bytes, aborted));
  if (!file) return std::nullopt;
  const absl::StatusOr<std::string> rest = FetchLog(log, snapshot.at - log.from, aborted);
  if (FailedOnTheWay(rest.status())) return std::nullopt;
  RV_RETURN_IF_ERROR(rest.status());
  return ReplayLog(task, *rest, *file, aborted);
}

absl::Status Agent::Fetch(const std::string& sha256, uint64_t bytes,
                          const std::filesystem::path& path, const std::stop_token& aborted,
                          uint64_t from) {
  absl::Status fetched = absl::CancelledError("told to stop");
  for (int attempt = 0; attempt < kMaxDownloads && !aborted.stop_requested();) {
    fetched = link_.Download(sha256, bytes, path, aborted, from);
    // The way is fine, but the coordinator must store the state first: a large one takes minutes.
    const bool later = RemedyOf(fetched) == Remedy::kRetryLater;
    if (!later && !FailedOnTheWay(fetched)) return fetched;
    WaitUnless(aborted, later ? 2 * config_.backoff_base : config_.backoff_base / 2);
    if (!later) ++attempt;
  }
  return fetched;
}

absl::StatusOr<std::string> Agent::FetchLog(const StateLog& log, uint64_t from,
                                            const std::stop_token& aborted) {
  if (std::optional<std::string> brought = log.Brought(from)) return *std::move(brought);
  const std::filesystem::path path = store_.StatePath(log.sha256);
  std::error_code ignored;
  std::filesystem::remove(path, ignored);  // what another task needed began elsewhere
  const absl::Status fetched = Fetch(log.sha256, log.bytes, path, aborted, from);
  absl::StatusOr<std::string> rest = fetched.ok() ? ReadFile(path, kMaxState) : fetched;
  std::filesystem::remove(path, ignored);
  return rest;
}

absl::StatusOr<std::string> Agent::ReplayLog(const Assignment& task, const std::string& rest,
                                             const std::string& snapshot,
                                             const std::stop_token& aborted) {
  const auto cancelled = [&aborted] { return aborted.stop_requested(); };
  RV_ASSIGN_OR_RETURN(std::string state, work_.CatchUp(task, rest, snapshot, cancelled));
  const std::string got = Sha256Hex(state);
  if (got != task.state_sha256) {
    return Refuse(absl::StatusCode::kDataLoss,
                  "DIGEST_MISMATCH: replayed " + std::to_string(rest.size()) +
                      " bytes of log, got state " + got + ", want " + task.state_sha256);
  }
  spdlog::info("{}: state made from {} bytes of log{}", TextOf(task.key), rest.size(),
               snapshot.empty() ? "" : " and a snapshot");
  return state;
}

absl::StatusOr<std::optional<std::string>> Agent::FetchState(const Assignment& task,
                                                             const std::stop_token& aborted) {
  if (std::optional<std::string> made = MakeState(task, aborted)) return made;
  if (task.log && task.log->snapshot && !aborted.stop_requested()) {
    absl::StatusOr<std::optional<std::string>> made = MakeFromSnapshot(task, aborted);
    if (made.ok() || aborted.stop_requested()) return made;
    spdlog::warn("{}: {}; the state is fetched instead", TextOf(task.key),
                 std::string(made.status().message()));
  }
  return FetchFile(task.key, task.state_sha256, task.state_bytes, aborted);
}

absl::StatusOr<std::optional<std::string>> Agent::FetchFile(const TaskKey& key,
                                                            const std::string& sha256,
                                                            uint64_t bytes,
                                                            const std::stop_token& aborted) {
  const std::filesystem::path path = store_.StatePath(sha256);
  absl::Status fetched;
  for (int attempt = 0; attempt < kMaxDownloads; ++attempt) {
    if (aborted.stop_requested()) return std::nullopt;
    fetched = Fetch(sha256, bytes, path, aborted);
    if (aborted.stop_requested()) return std::nullopt;
    if (FailedOnTheWay(fetched)) break;
    RV_RETURN_IF_ERROR(fetched);
    RV_ASSIGN_OR_RETURN(std::string state, ReadFile(path, kMaxState));
    if (Sha256Hex(state) == sha256) {
      store_.KeepOnlyState(sha256);
      return state;
    }
    spdlog::warn("{}: the global state arrived damaged; fetched again", TextOf(key));
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
  if (fetched.ok()) return Refuse(absl::StatusCode::kDataLoss, "the global state arrives damaged");
  spdlog::warn("{}: {}", TextOf(key), std::string(fetched.message()));
  return std::nullopt;
}

absl::Status Agent::SendUpdate(const Outcome& outcome) {
  // What is gone or damaged cannot come back: the round must not wait for it, and is told so.
  absl::StatusOr<std::string> file = ReadFile(store_.UpdatePath(outcome.key), kMaxState);
  if (!file.ok()) {
    spdlog::warn("{}: {}", TextOf(outcome.key), std::string(file.status().message()));
    return Refuse(absl::StatusCode::kInvalidArgument, "the update's file is gone");
  }
  if (file->size() != outcome.bytes || Sha256Hex(*file) != outcome.sha256) {
    return Refuse(absl::StatusCode::kInvalidArgument, "the update's file is damaged");
  }
  return link_.Upload(outcome, *file);
}

}  // namespace rivulet
