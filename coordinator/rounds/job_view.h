#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "coordinator/storage/state_store.h"

namespace rivulet {

// What `job show` prints of one attempt at a round.
struct RoundView {
  uint64_t round = 0;
  uint32_t attempt = 0;
  RoundState state = RoundState::kOpen;
  std::vector<std::string> cohort;
  std::vector<std::string> reported;  // while open: so far; later: those counted
  std::vector<std::string> failed;
  std::vector<std::string> missing;  // once closed: neither reported nor failed
  int needed = 0;
  RoundFigures figures;      // once done
  int64_t raw_bytes_up = 0;  // once done: what figures.bytes_up would be as files of F32
  std::string state_hash;    // once done: of the published state
  std::string reason;        // once abandoned
};

struct ClientEvaluation {
  std::string client;
  double loss = 0;      // mean, nats per counted position or example
  double accuracy = 0;  // correct / counted
  int64_t counted = 0;
};

// Held-out figures of the state published by `round` (0: the initial one).
struct EvaluationView {
  uint64_t round = 0;
  bool done = false;
  double loss = 0;  // summed loss / summed count over all clients; perplexity is its exp
  double accuracy = 0;
  int64_t counted = 0;
  std::vector<ClientEvaluation> clients;  // sorted by name; none under a privacy.mechanism
  std::vector<std::string> missing;
};

struct FailureCount {
  std::string code;
  std::string text;  // of its latest occurrence
  int count = 0;
};

struct JobView {
  std::string id;
  std::string name;
  std::string document;  // canonical JSON
  JobState state = JobState::kActive;
  int exit_code = 0;
  std::string reason;   // failed or stopped: a sentence
  std::string waiting;  // "waiting: 1 of 2 nodes, 00:04:12 left", or empty
  uint64_t round = 0;   // last published
  uint64_t num_rounds = 0;
  uint32_t attempt = 0;        // of round + 1, when one is in progress
  int eligible_connected = 0;  // clients that could work on it now
  int64_t submitted_ms = 0;    // Unix time
  int64_t ended_ms = 0;        // 0 while it runs
  int64_t elapsed_ms = 0;
  int64_t bytes_up = 0;
  int64_t raw_bytes_up = 0;       // the same updates as files of F32
  int64_t protocol_bytes_up = 0;  // under masks, beside them: keys, shares, endorsements
  int64_t bytes_down = 0;
  double epsilon = 0;  // spent so far on the job's data set, by all jobs; 0: nothing was released
  double delta = 0;
  double target_epsilon = 0;        // of the job; 0 once it has ended
  bool evaluates_in_clear = false;  // held-out figures left without noise: not in epsilon
  std::string state_hash;           // ParameterSet::HashHex() of the current global state
  std::string state_sha256;         // its blob
  uint64_t state_bytes = 0;
  std::vector<RoundView> rounds;  // every attempt, in order
  std::vector<EvaluationView> evaluations;
  std::vector<FailureCount> failures;  // the three commonest client errors
  std::vector<std::string> excluded;   // clients that take part no more: "eve: why"

  bool ended() const { return state >= JobState::kFinished; }
};

struct ClientView {
  std::string name;
  bool connected = false;
  std::string task;  // "train rnd-1a2b round 3", or empty
  int queued = 0;    // tasks that wait for it
  int64_t last_seen_ms = 0;
};

// A blob of a job under a name people use: "state" (the latest), "state-<round>".
struct NamedBlob {
  std::string name;
  std::string sha256;
  uint64_t bytes = 0;
  std::string state_hash;
};

// One line of `job watch`: types are listed in docs (job.submitted, job.started, round.started,
// round.waiting, client.selected, client.completed, client.flagged, client.dropped,
// round.completed, round.abandoned, round.lost, client.excluded, eval.started, eval.completed,
// job.completed, job.failed, job.stopped).
struct JobEvent {
  using Value = std::variant<int64_t, double, std::string>;
  std::string type;
  std::string job;
  uint64_t round = 0;
  int64_t unix_ms = 0;
  std::vector<std::pair<std::string, Value>> data;

  // The number under `key`; `absent` when there is no such key, or text behind it.
  double Number(std::string_view key, double absent = 0) const {
    for (const auto& [name, value] : data) {
      if (name != key) continue;
      if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
      if (const auto* real = std::get_if<double>(&value)) return *real;
    }
    return absent;
  }
};

// The type of the last event of a job that ended so, and that event once more.
const char* LastEventTypeOf(JobState ended);
JobEvent LastEventOf(const JobView& ended);

// One release under differential privacy.
struct ReleaseView {
  std::string job;
  uint64_t round = 0;
  std::string row;            // canonical JSON (privacy/dp/ledger.h)
  double target_epsilon = 0;  // of the job's budget; 0 once it has ended
  double target_delta = 0;
};

}  // namespace rivulet
