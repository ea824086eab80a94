#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "common/status.h"

namespace rivulet {

// A round_deadline that never comes, and of which nobody is told what is left.
inline constexpr std::chrono::milliseconds kNoDeadline = std::chrono::hours(24 * 365);

// What the engine knows of a job; see JobSection for the meaning of each key.
struct EngineConfig {
  uint64_t rounds = 1;
  int min_clients = 1;
  int min_available = 0;      // 0 = enough for one cohort
  int clients_per_round = 0;  // 0 = by fraction
  double fraction = 1.0;
  double over_selection = 1.0;
  std::string selection = "random";  // random | all | capability
  std::chrono::milliseconds round_deadline{0};
  std::chrono::milliseconds start_deadline{0};
  std::chrono::milliseconds return_grace{0};  // how long a round waits for the clients of the last
  // In every cohort beside those drawn, and not one of min_clients or clients_per_round; no round
  // counts without its update. Empty: nobody.
  std::string trusted;
  double max_failures = 0.5;   // share of a cohort that may report failures
  int max_abandoned = 3;       // attempts abandoned without an exclusion or refusal fail the job
  uint32_t most_attempts = 0;  // at one round, whatever came of them; 0: as many as there are
  uint64_t seed = 0;
  bool evaluates = true;  // something is held out to evaluate on
  uint64_t evaluate_every = 0;
  // Rounds from one counted update of a client to its next, at least; 1: any. Cohorts keep to it.
  uint64_t separation = 1;
  // Rounds come in pairs (InTwoPasses): a second, even one is for those who counted in the first,
  // all of them, and nothing is evaluated between the two. Where one of them is lost, both are.
  bool two_passes = false;
  // Poisson sampling: who of the eligible (sorted) works on an attempt. A pure function that the
  // driver gives, of a secret it keeps. Nobody may be drawn, and such a round counts.
  std::function<std::vector<std::string>(std::vector<std::string>, uint64_t, uint32_t)> draw;
};

enum class Phase {
  kWaiting,     // for clients, before the next attempt
  kOpen,        // updates arrive
  kFreezing,    // no new ones; those being committed still count
  kClosed,      // the set is frozen; the driver aggregates and publishes
  kEvaluating,  // evaluation reports arrive
  kEnded,
};

// All that an engine is, so that a stored job can go on. Times are the driver's monotonic clock.
struct EngineState {
  Phase phase = Phase::kWaiting;
  uint64_t round = 0;                 // last published; the attempt in progress is for round + 1
  uint32_t attempt = 0;               // of round + 1; 0 before the first
  int abandoned = 0;                  // in a row; see Abandon for those that do not count
  bool evaluated = false;             // the state of `round` needs no (further) evaluation
  bool stopping = false;              // end after the round
  bool stop_now = false;              // abandon an open round and end
  std::vector<std::string> expected;  // clients of the last attempt, waited for; sorted
  std::set<std::string> cohort;       // of the open attempt, or those asked to evaluate
  int needed = 0;
  std::set<std::string> reported;             // their update or report is stored
  std::map<std::string, std::string> failed;  // gave the task up, and how: "refused: ..."
  // Who refused an attempt of this round, and the first that it refused.
  std::map<std::string, uint32_t> refused;
  std::string ended;                        // why the last attempt was abandoned
  std::map<std::string, uint64_t> counted;  // client -> last round whose frozen set it was in
  std::chrono::milliseconds since{0};       // start of this wait
  std::chrono::milliseconds deadline{0};    // end of this wait
  // Of a stored job that was waiting: what is left of the start deadline; absent: all of it.
  std::optional<std::chrono::milliseconds> wait_left;
};

// ---- events: what happened. All are harmless when they do not fit the phase. ----
struct ClientConnected {  // an eligible one
  std::string client;
  uint64_t capability = 0;  // for selection by capability: more is better
};
struct ClientDisconnected {
  std::string client;
};
struct UpdateStored {  // durable
  std::string client;
  uint64_t round = 0;
  uint32_t attempt = 0;
};
struct ReportStored {  // an evaluation report, durable
  std::string client;
  uint64_t round = 0;
};
struct TaskFailed {  // attempt 0: an evaluation
  std::string client;
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string why = {};  // "gave up: out_of_memory: ..."
  bool refused = false;  // what it was asked or shown, by its own word
};
struct Frozen {};     // no update of this attempt is being committed any more
struct Published {};  // the next model is durable
struct WorkFailed {   // aggregating or publishing is impossible
  std::string reason;
  ExitCode exit = ExitCode::kJobFailed;
};
struct ClientExcluded {  // it takes part in this job no more
  std::string client;
};
struct MaskingFailed {  // the clients' keys and shares do not open a sum
  std::string reason;
  bool repeatable = true;  // false: clients have given shares away, and never do twice in a round
  bool excluded = false;   // whoever was at fault is excluded: a later round may fare better
  std::string told = {};   // the reason for clients' ears; empty: the same
};
struct TimePassed {};
struct StopRequested {
  bool now = false;  // abandon the open round instead of finishing it
};
using Event = std::variant<ClientConnected, ClientDisconnected, UpdateStored, ReportStored,
                           TaskFailed, Frozen, Published, WorkFailed, ClientExcluded, MaskingFailed,
                           TimePassed, StopRequested>;

// ---- actions: what the driver must do, in order; each is made durable before the next acts ----
struct OpenRound {
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::vector<std::string> eligible;  // sorted
  std::vector<std::string> cohort;    // sorted
  int needed = 0;
  std::chrono::milliseconds deadline{0};  // from now
};
struct AssignTraining {
  std::string client;
  uint64_t round = 0;
  uint32_t attempt = 0;
};
struct AssignEvaluation {
  std::string client;
  uint64_t round = 0;
};
struct Revoke {  // attempt 0: an evaluation
  std::string client;
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string reason;
};
struct Freeze {};  // refuse new updates, answer with Frozen
struct CloseRound {
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::vector<std::string> counted;  // sorted; aggregate exactly these, answer with Published
};
struct AbandonRound {
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string reason;
};
struct LoseRound {  // it can be neither finished nor repeated: its state is that of before
  uint64_t round = 0;
  uint32_t attempt = 0;  // need not be open, nor there at all (0)
  std::string reason;
  uint64_t last = 0;  // the round and those up to this one: of two passes both
};
struct OpenEvaluation {
  uint64_t round = 0;
  std::vector<std::string> clients;       // sorted
  std::chrono::milliseconds deadline{0};  // from now
};
struct EndEvaluation {
  uint64_t round = 0;
  std::vector<std::string> missing;  // asked, but neither reported nor failed; sorted
};
struct EndJob {
  enum class How { kFinished, kFailed, kStopped };
  How how = How::kFinished;
  std::string reason;                    // a sentence; empty when finished
  ExitCode exit = ExitCode::kJobFailed;  // of a failed one
};
using Action = std::variant<OpenRound, AssignTraining, AssignEvaluation, Revoke, Freeze, CloseRound,
                            AbandonRound, LoseRound, OpenEvaluation, EndEvaluation, EndJob>;

// One job's rounds as a pure state machine: no clock, no I/O, no threads, no randomness of its own.
// The same events at the same times give the same actions. Not thread safe.
//
//   waiting -> open -> freezing -> closed -> (published) -> evaluating when due -> waiting ...
//   ended
//                `--> abandoned -> waiting, a fresh attempt, at most max_abandoned in a
//                     row beside those that excluded a client or that clients refused
// With masks a closed round may still be abandoned: its sum has to be opened first. It is lost when
// clients have given shares for it away: the next one goes on from the same state.
class RoundEngine {
 public:
  // A new job: EngineState{}; a stored one: what was rebuilt from its rows, with `deadline` set for
  // an open round or evaluation. Send TimePassed then: it starts what is due. `now` as in Step.
  RoundEngine(EngineConfig config, EngineState state, std::chrono::milliseconds now);

  std::vector<Action> Step(const Event& event, std::chrono::milliseconds now);

  const EngineState& state() const { return state_; }
  const EngineConfig& config() const { return config_; }
  size_t connected() const { return connected_.size(); }

  // Whether an update of this client would be taken now.
  bool Wants(const std::string& client, uint64_t round, uint32_t attempt) const;
  // Whether this client owes an evaluation of `round` now.
  bool WantsReport(const std::string& client, uint64_t round) const;

  // When TimePassed would do something; nullopt when this phase waits for the driver itself.
  std::optional<std::chrono::milliseconds> NextDeadline() const;
  // "waiting: 1 of 2 nodes, 00:04:12 left"; empty when nothing is waited for.
  std::string Waiting(std::chrono::milliseconds now) const;

 private:
  using Actions = std::vector<Action>;
  void On(const ClientConnected& event, Actions& out);
  void On(const ClientDisconnected& event, Actions& out);
  void On(const UpdateStored& event, Actions& out);
  void On(const ReportStored& event, Actions& out);
  void On(const TaskFailed& event, Actions& out);
  void On(const Frozen& event, Actions& out);
  void On(const Published& event, Actions& out);
  void On(const WorkFailed& event, Actions& out);
  void On(const ClientExcluded& event, Actions& out);
  void On(const MaskingFailed& event, Actions& out);
  void On(const TimePassed& event, Actions& out);
  void On(const StopRequested& event, Actions& out);

  void Wait();  // for clients
  bool Ready() const;
  std::map<std::string, uint64_t> Rested() const;     // those connected that may take part
  std::map<std::string, uint64_t> Invitable() const;  // and are asked
  void TryStart(Actions& out);
  void Open(Actions& out);
  void CheckOpen(Actions& out);
  void StartFreezing(Actions& out);
  void Abandon(const std::string& reason, Actions& out, bool excluded = false,
               const std::string& told = "");
  bool OnlyNewRefusals() const;
  void NextRound(Actions& out);
  bool Lose(const std::string& reason, Actions& out);  // false where no round is left after it
  bool IsSecondPass() const { return config_.two_passes && state_.round % 2 == 1; }  // the next
  void OpenIsOver(Actions& out);
  void WaitIsOver(Actions& out);
  void RevokeRest(uint32_t attempt, const std::string& reason, Actions& out);
  void StartEvaluation(Actions& out);
  void CheckEvaluation(Actions& out);
  void FinishEvaluation(Actions& out);
  void End(EndJob::How how, const std::string& reason, Actions& out,
           ExitCode exit = ExitCode::kJobFailed);
  size_t Fewest() const;         // updates that a round needs
  size_t FewestPresent() const;  // clients without whom no round opens
  bool HasTrusted() const { return !config_.trusted.empty(); }
  bool TrustedIsAway() const;
  bool TrustedHasReported() const;  // or nobody has to
  std::string TrustedText() const;
  bool EvaluationDue() const;
  bool ExpectedAreBack() const;
  size_t Required() const;  // eligible clients that a job's first start waits for
  std::vector<std::string> Outstanding() const;  // of the cohort: neither reported nor failed
  bool OutstandingAreGone() const;
  bool IsAttempt(const std::string& client, uint64_t round, uint32_t attempt) const;

  EngineConfig config_;
  EngineState state_;
  std::chrono::milliseconds now_;
  std::chrono::milliseconds left_{0};          // when a client last left (or the engine was made)
  std::map<std::string, uint64_t> connected_;  // eligible -> capability
};

}  // namespace rivulet
