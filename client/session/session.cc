#include "client/session/session.h"

#include <algorithm>
#include <utility>

#include "common/utf8.h"

namespace rivulet {
namespace {

constexpr size_t kMaxText = 1000;  // of a failure; the protocol allows 1024

// Errors after which no later attempt can succeed: the process ends and says why.
bool EndsTheAgent(const absl::Status& status) {
  return RemedyOf(status) == Remedy::kLeaveRun ||
         status.code() == absl::StatusCode::kUnauthenticated ||
         status.code() == absl::StatusCode::kPermissionDenied;
}

// Errors of one report after which it is worth sending again.
bool WorthRetrying(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
      return RemedyOf(status) != Remedy::kLeaveRun;
    default:
      return RemedyOf(status) == Remedy::kRetryLater;
  }
}

Outcome Failed(const TaskKey& key, std::string code, std::string text) {
  Outcome outcome;
  outcome.kind = Outcome::Kind::kFailed;
  outcome.key = key;
  outcome.code = std::move(code);
  outcome.text = std::move(text);
  return outcome;
}

}  // namespace

std::string TextOf(const TaskKey& key) {
  std::string text = "job " + key.job + " round " + std::to_string(key.round);
  return key.attempt == 0 ? text + " evaluation" : text + " attempt " + std::to_string(key.attempt);
}

Session::Session(SessionConfig config, SessionMemory memory, std::function<double()> random)
    : config_(config),
      random_(std::move(random)),
      epoch_(memory.epoch),
      starts_(std::move(memory.starts)) {
  for (Outcome& outcome : memory.outcomes) {
    outcomes_.emplace(outcome.key, std::move(outcome));
  }
}

std::vector<SessionAction> Session::Step(const SessionEvent& event) {
  Actions out;
  if (!exited_) std::visit([&](const auto& detail) { On(detail, out); }, event);
  return out;
}

void Session::On(const Started&, Actions& out) {
  link_ = Link::kOpening;
  out.push_back(OpenStream{});
}

void Session::On(const Welcomed& event, Actions& out) {
  if (event.epoch < epoch_) {
    out.push_back(Say{"coordinator: got epoch " + std::to_string(event.epoch) + ", want at least " +
                          std::to_string(epoch_) +
                          "; it was restored from an old copy, or is another one",
                      true});
    out.push_back(CloseStream{});
    link_ = Link::kDown;
    return ScheduleReconnect(config_.backoff_cap, out);
  }
  if (event.epoch > epoch_) out.push_back(RememberEpoch{event.epoch});
  epoch_ = event.epoch;
  link_ = Link::kUp;
  connect_failures_ = 0;
  send_failures_ = 0;
  heartbeat_ = event.heartbeat;
  spoke_ = true;  // Hello
  out.push_back(StartTimer{Timer::kHeartbeat, heartbeat_});
  for (const auto& [key, outcome] : outcomes_) SendOutcome(outcome, out);
}

void Session::On(const Assigned& event, Actions& out) {
  const Assignment& task = event.task;
  if (task.epoch < epoch_) {
    out.push_back(Say{TextOf(task.key) + ": of an earlier epoch, ignored", true});
    return;
  }
  if (const auto done = outcomes_.find(task.key); done != outcomes_.end()) {
    return SendOutcome(done->second, out);  // the acknowledgement was lost
  }
  const bool known = Knows(task.key);
  const bool masked = !task.masking.empty();
  if (known && masked) out.push_back(JoinMasking{task});  // what was said may have been lost
  if (stopping_ || known) return;
  if (starts_[task.key] >= config_.max_starts) {
    return Settle(
        Failed(task.key, "lost",
               "the agent died " + std::to_string(starts_[task.key]) + " times in this task"),
        out);
  }
  if (masked) out.push_back(JoinMasking{task});  // at once: the others wait for it
  waiting_.push_back(task);
  StartNext(out);
}

void Session::On(const Cancelled& event, Actions& out) {
  out.push_back(Say{TextOf(event.key) + ": cancelled: " + event.reason});
  Abort(event.key, out);
  if (event.key.attempt > 0) out.push_back(LeaveMasking{event.key});
  Drop(event.key, out);
  ExitIfDrained(out);
}

// What comes while the link is down was said on a stream that is gone, and is said again.
void Session::On(const MaskingArrived& event, Actions& out) {
  if (link_ == Link::kUp) out.push_back(AnswerMasking{event});
}

void Session::On(const MaskingRefused& event, Actions& out) {
  if (Knows(event.key)) {
    if (aborting_ && active_ == event.key) return;
    Abort(event.key, out);
    return Settle(Failed(event.key, event.code, event.text), out);
  }
  if (link_ == Link::kUp && !event.abort.empty()) {
    out.push_back(SendMasking{event.key, event.abort});
  }
}

// The task is not worked on, from now on.
void Session::Abort(const TaskKey& key, Actions& out) {
  std::erase_if(waiting_, [&](const Assignment& task) { return task.key == key; });
  if (active_ != key || aborting_) return;
  aborting_ = true;
  out.push_back(AbortWork{key});
}

void Session::On(const Reported& event, Actions& out) {
  const auto place = outcomes_.find(event.key);
  if (place == outcomes_.end()) return;
  sent_.erase(event.key);
  if (event.status.ok()) {
    send_failures_ = 0;
    Drop(event.key, out);
  } else if (WorthRetrying(event.status)) {
    out.push_back(Say{TextOf(event.key) + ": " + std::string(event.status.message()), true});
    if (link_ == Link::kUp && !retry_pending_) {
      retry_pending_ = true;
      out.push_back(StartTimer{Timer::kRetry, Backoff(++send_failures_)});
    }
  } else {
    out.push_back(Say{TextOf(event.key) + ": " + std::string(event.status.message()), true});
    const bool bad_update = place->second.kind == Outcome::Kind::kTrained &&
                            event.status.code() == absl::StatusCode::kInvalidArgument;
    if (bad_update) {  // so that the round need not wait for us until its deadline
      return Settle(Failed(event.key, "bad_update", std::string(event.status.message())), out);
    }
    Drop(event.key, out);
  }
  ExitIfDrained(out);
}

void Session::On(const StreamLost& event, Actions& out) {
  sent_.clear();
  retry_pending_ = false;
  if (link_ == Link::kDown && drain_wait_.count() == 0) return;  // we closed it ourselves
  link_ = Link::kDown;
  if (stopping_ && !active_.has_value()) return Leave(absl::OkStatus(), out);
  if (EndsTheAgent(event.status)) return Leave(event.status, out);
  if (connect_failures_ % 8 == 0) {
    out.push_back(Say{"coordinator: " + std::string(event.status.message()), true});
  }
  ScheduleReconnect(std::exchange(drain_wait_, std::chrono::milliseconds(0)), out);
}

void Session::On(const Drained& event, Actions& out) {
  drain_wait_ = std::max(event.after, std::chrono::milliseconds(1));
  out.push_back(Say{"coordinator: stops; coming back later"});
}

void Session::On(const WorkEnded& event, Actions& out) {
  if (active_ != event.key) return;
  active_.reset();
  if (std::exchange(aborting_, false)) {
    // Again: its update may have been written since. Not the report that this agent refused it.
    if (!outcomes_.contains(event.key)) out.push_back(Forget{event.key});
  } else if (event.outcome.has_value()) {
    Settle(*event.outcome, out);
  } else {  // the coordinator sends the task again over the next connection
    UncountStart(event.key, out);
    if (link_ == Link::kUp && !stopping_) out.push_back(CloseStream{});
  }
  if (!stopping_) StartNext(out);
  ExitIfDrained(out);
}

void Session::On(const TimerFired& event, Actions& out) {
  switch (event.timer) {
    case Timer::kReconnect:
      if (link_ != Link::kDown) return;
      link_ = Link::kOpening;
      out.push_back(OpenStream{});
      return;
    case Timer::kRetry:
      retry_pending_ = false;
      if (link_ != Link::kUp) return;
      for (const auto& [key, outcome] : outcomes_) SendOutcome(outcome, out);
      return;
    case Timer::kHeartbeat:
      if (link_ != Link::kUp) return;
      if (!std::exchange(spoke_, false)) {
        out.push_back(Beat{active_.has_value() ? "working"
                           : outcomes_.empty() ? "idle"
                                               : "sending"});
      }
      out.push_back(StartTimer{Timer::kHeartbeat, heartbeat_});
      return;
    case Timer::kDrain:
      return Leave(absl::OkStatus(), out);
  }
}

void Session::On(const TermRequested&, Actions& out) {
  if (std::exchange(stopping_, true)) {  // asked twice: at once
    return On(TimerFired{Timer::kDrain}, out);
  }
  waiting_.clear();
  out.push_back(StartTimer{Timer::kDrain, config_.drain_limit});
  ExitIfDrained(out);
}

void Session::Settle(Outcome outcome, Actions& out) {
  outcome.text = Tidy(outcome.text, kMaxText);  // a message with half a character is refused whole
  outcomes_[outcome.key] = outcome;
  sent_.erase(outcome.key);
  starts_.erase(outcome.key);
  out.push_back(Keep{outcome});
  SendOutcome(outcome, out);
}

void Session::SendOutcome(const Outcome& outcome, Actions& out) {
  if (link_ != Link::kUp || sent_.contains(outcome.key)) return;
  sent_[outcome.key] = true;
  spoke_ = true;
  if (outcome.kind == Outcome::Kind::kTrained) {
    out.push_back(Deliver{outcome});
  } else {
    out.push_back(Report{outcome});
  }
}

void Session::Drop(const TaskKey& key, Actions& out) {
  outcomes_.erase(key);
  starts_.erase(key);
  sent_.erase(key);
  out.push_back(Forget{key});
}

void Session::StartNext(Actions& out) {
  if (active_.has_value() || waiting_.empty()) return;
  const Assignment task = std::move(waiting_.front());
  waiting_.erase(waiting_.begin());
  active_ = task.key;
  aborting_ = false;
  ++starts_[task.key];
  out.push_back(RememberStart{task.key});
  out.push_back(StartWork{task});
}

void Session::ScheduleReconnect(std::chrono::milliseconds at_least, Actions& out) {
  out.push_back(StartTimer{Timer::kReconnect, at_least + Backoff(++connect_failures_)});
}

void Session::UncountStart(const TaskKey& key, Actions& out) {
  --starts_[key];
  out.push_back(TakeBackStart{key});
}

// A task in hand is begun anew by the next process.
void Session::Leave(const absl::Status& status, Actions& out) {
  exited_ = true;
  if (active_.has_value()) {
    out.push_back(AbortWork{*active_});
    if (!aborting_) UncountStart(*active_, out);
  }
  out.push_back(Exit{status});
}

void Session::ExitIfDrained(Actions& out) {
  if (!stopping_ || exited_ || active_.has_value() || !outcomes_.empty()) return;
  Leave(absl::OkStatus(), out);
}

bool Session::Knows(const TaskKey& key) const {
  return active_ == key || std::any_of(waiting_.begin(), waiting_.end(),
                                       [&](const auto& task) { return task.key == key; });
}

std::chrono::milliseconds Session::Backoff(int failures) const {
  const double base = static_cast<double>(config_.backoff_base.count());
  const double roof = std::min(base * static_cast<double>(uint64_t{1} << std::min(failures, 20)),
                               static_cast<double>(config_.backoff_cap.count()));
  return std::chrono::milliseconds(static_cast<int64_t>(random_() * roof));
}

}  // namespace rivulet
