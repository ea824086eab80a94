#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/scalars/log_position.h"
#include "common/status.h"

namespace rivulet {

struct TaskKey {
  std::string job;
  uint64_t round = 0;
  uint32_t attempt = 0;  // training: from 1; evaluation: 0
  auto operator<=>(const TaskKey&) const = default;
};
std::string TextOf(const TaskKey& key);  // "job rnd-1a2b round 3 attempt 1"

// Work that the coordinator pushed.
struct Assignment {
  enum class Kind { kTrain, kEvaluate };
  Kind kind = Kind::kTrain;
  TaskKey key;
  std::string job_document;
  std::string state_sha256;  // 64 hex digits
  uint64_t state_bytes = 0;
  uint64_t epoch = 0;
  std::string masking;          // training under masks: the protocol's Parameters
  std::optional<StateLog> log;  // in a second pass (IsSecondPass) the mean of the first
  std::string choice;           // training with scalars.candidates: ScalarRound::choice
  // Never the coordinator's word, but of this agent's own session under masks, once it is agreed
  // and where the job's directions follow from it (DirectionRootOf).
  std::optional<uint64_t> session_root;
};

// What came of a task; kept on disk until the coordinator has it.
struct Outcome {
  enum class Kind { kTrained, kEvaluated, kFailed };
  Kind kind = Kind::kFailed;
  TaskKey key;
  std::string sha256;  // trained: of the update's file
  uint64_t bytes = 0;
  int64_t examples = 0;
  int64_t tokens = 0;
  int64_t steps = 0;
  double loss = 0;
  double grad_norm = 0;
  int64_t loss_fixed = 0;  // evaluated
  int64_t counted = 0;
  int64_t correct = 0;
  std::string code;  // failed
  std::string text;
};

struct SessionConfig {
  std::chrono::milliseconds backoff_base{500};   // full jitter: a wait is uniform in 0..base*2^n
  std::chrono::milliseconds backoff_cap{60000};  // below the coordinator's rounds.return-grace
  std::chrono::milliseconds drain_limit{60000};  // SIGTERM: how long work in hand may take
  int max_starts = 3;                            // of one task by processes that died in it
};

// ---- events ----
struct Started {};  // once, first
struct Welcomed {
  uint64_t epoch = 0;
  std::chrono::milliseconds heartbeat{15000};
};
struct Assigned {
  Assignment task;
};
struct Cancelled {
  TaskKey key;
  std::string reason;
};
struct MaskingArrived {  // a message of secure aggregation
  TaskKey key;
  std::string bytes;
  std::vector<std::string> certificates;  // PEM, of the members it speaks of
};
struct MaskingRefused {  // by this agent: it takes no further part in the attempt
  TaskKey key;
  std::string code;  // for the report of a task still in hand
  std::string text;
  std::string abort;  // for the coordinator when there is nothing to report any more; may be empty
};
struct Reported {  // the coordinator's answer to Report or Upload
  TaskKey key;
  absl::Status status;
};
struct StreamLost {
  absl::Status status;
};
struct Drained {  // the coordinator stops; come back after this
  std::chrono::milliseconds after{0};
};
struct WorkEnded {  // nullopt: aborted as asked, or the way to the coordinator failed
  TaskKey key;
  std::optional<Outcome> outcome;
};
enum class Timer { kReconnect, kRetry, kHeartbeat, kDrain };
struct TimerFired {
  Timer timer = Timer::kReconnect;
};
struct TermRequested {};
using SessionEvent =
    std::variant<Started, Welcomed, Assigned, Cancelled, MaskingArrived, MaskingRefused, Reported,
                 StreamLost, Drained, WorkEnded, TimerFired, TermRequested>;

// ---- actions, to be done in order ----
struct OpenStream {};  // and say Hello
struct CloseStream {};
struct RememberEpoch {  // durable before the next action
  uint64_t epoch = 0;
};
struct RememberStart {  // durable: a task is begun
  TaskKey key;
};
struct TakeBackStart {  // durable: it ended without outcome, but nobody died of it
  TaskKey key;
};
struct StartWork {
  Assignment task;
};
struct AbortWork {
  TaskKey key;
};
struct Keep {  // durable before it is sent
  Outcome outcome;
};
struct Forget {  // the coordinator has it, or wants it no more; its file too
  TaskKey key;
};
struct Deliver {  // trained
  Outcome outcome;
};
struct Report {  // evaluated, failed
  Outcome outcome;
};
// Masks are agreed beside the work, and outlive it: others' secrets are opened after the uploads.
struct JoinMasking {  // say the keys, also when they were said before
  Assignment task;
};
struct AnswerMasking {
  MaskingArrived message;
};
struct SendMasking {
  TaskKey key;
  std::string bytes;
};
struct LeaveMasking {  // the attempt is over: its secrets may go
  TaskKey key;
};
struct Beat {
  std::string activity;
};
struct StartTimer {
  Timer timer = Timer::kReconnect;
  std::chrono::milliseconds after{0};
};
struct Say {  // for the log
  std::string text;
  bool warning = false;
};
struct Exit {
  absl::Status status;  // OK: a clean stop
};
using SessionAction =
    std::variant<OpenStream, CloseStream, RememberEpoch, RememberStart, TakeBackStart, StartWork,
                 AbortWork, Keep, Forget, Deliver, Report, JoinMasking, AnswerMasking, SendMasking,
                 LeaveMasking, Beat, StartTimer, Say, Exit>;

// What a restarted agent finds on its disk.
struct SessionMemory {
  uint64_t epoch = 0;             // the largest seen
  std::map<TaskKey, int> starts;  // tasks begun and not ended
  std::vector<Outcome> outcomes;  // not yet acknowledged
};

// One agent's conversation with its coordinator as a pure state machine: no gRPC, no disk, no
// clock. Works on one task at a time; keeps the others in the order they came. Delivery is at least
// once, effects exactly once: a repeated task is ignored, or answered from memory. Not thread safe.
class Session {
 public:
  // `random` gives uniform numbers in [0, 1) for the waits.
  Session(SessionConfig config, SessionMemory memory, std::function<double()> random);

  std::vector<SessionAction> Step(const SessionEvent& event);

 private:
  using Actions = std::vector<SessionAction>;
  void On(const Started& event, Actions& out);
  void On(const Welcomed& event, Actions& out);
  void On(const Assigned& event, Actions& out);
  void On(const Cancelled& event, Actions& out);
  void On(const MaskingArrived& event, Actions& out);
  void On(const MaskingRefused& event, Actions& out);
  void On(const Reported& event, Actions& out);
  void On(const StreamLost& event, Actions& out);
  void On(const Drained& event, Actions& out);
  void On(const WorkEnded& event, Actions& out);
  void On(const TimerFired& event, Actions& out);
  void On(const TermRequested& event, Actions& out);

  void Settle(Outcome outcome, Actions& out);  // keep it and send it
  void SendOutcome(const Outcome& outcome, Actions& out);
  void Drop(const TaskKey& key, Actions& out);
  void Abort(const TaskKey& key, Actions& out);
  void StartNext(Actions& out);
  void ScheduleReconnect(std::chrono::milliseconds at_least, Actions& out);
  void UncountStart(const TaskKey& key, Actions& out);
  void Leave(const absl::Status& status, Actions& out);
  void ExitIfDrained(Actions& out);
  bool Knows(const TaskKey& key) const;
  std::chrono::milliseconds Backoff(int failures) const;

  enum class Link { kDown, kOpening, kUp };

  const SessionConfig config_;
  const std::function<double()> random_;
  Link link_ = Link::kDown;
  uint64_t epoch_ = 0;
  int connect_failures_ = 0;
  int send_failures_ = 0;
  bool retry_pending_ = false;
  bool stopping_ = false;
  bool exited_ = false;
  bool spoke_ = false;  // since the last heartbeat was due: it says that it lives, too
  std::chrono::milliseconds heartbeat_{0};
  std::chrono::milliseconds drain_wait_{0};
  std::map<TaskKey, int> starts_;
  std::map<TaskKey, Outcome> outcomes_;
  std::map<TaskKey, bool> sent_;  // outcomes under way on this stream
  std::vector<Assignment> waiting_;
  std::optional<TaskKey> active_;
  bool aborting_ = false;
};

}  // namespace rivulet
