#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/status.h"
#include "coordinator/storage/durable_step.h"
#include "privacy/crypto/secret_text.h"

namespace rivulet {

// The numbers are on disk: never reuse one.
enum class JobState {
  kActive = 1,
  kStopping = 2,  // the open round is finished first
  kFinished = 3,
  kFailed = 4,
  kStopped = 5,
};
enum class RoundState {
  kOpen = 1,
  kClosed = 2,  // the set is frozen
  kDone = 3,    // the next model is published
  kAbandoned = 4,
};
std::string_view NameOf(JobState state);    // "active"
std::string_view NameOf(RoundState state);  // "open"

struct JobRecord {
  std::string id;
  std::string name;
  std::string submit_token;  // unique when not empty: a repeated submit finds its job
  std::string document;      // canonical JSON
  JobState state = JobState::kActive;
  int exit_code = 0;         // of a finished, failed or stopped job
  std::string reason;        // why it failed or stopped
  int64_t submitted_ms = 0;  // Unix time, milliseconds
  int64_t ended_ms = 0;
  bool stop_now = false;    // stopping: the open round is abandoned, not finished
  int64_t waiting_ms = -1;  // left of the wait for clients, refreshed now and then; -1: not stored
};

// What a published round reports; sums over the counted updates.
struct RoundFigures {
  double loss = 0;  // mean training loss, weighted as the updates were
  int64_t examples = 0;
  int64_t tokens = 0;
  int64_t bytes_up = 0;
  int64_t protocol_bytes_up = 0;  // under masks, beside bytes_up: keys, shares, endorsements
  int64_t bytes_down = 0;
  std::optional<double> bias;  // of factor averaging, >= 0; empty where it was not computed
  int64_t milliseconds = 0;
  std::vector<std::string> left_out;  // counted clients that a robust rule left out, sorted;
                                      // with robust.groups: groups, and why
};

// One attempt at one round; key (job, round, attempt).
struct RoundRecord {
  std::string job;
  uint64_t round = 0;    // from 1
  uint32_t attempt = 0;  // from 1
  RoundState state = RoundState::kOpen;
  std::vector<std::string> eligible;  // the frozen list the cohort was drawn from, sorted
  std::vector<std::string> cohort;    // invited, sorted
  int needed = 0;                     // updates that close it early
  std::vector<std::string> counted;   // from kClosed on: whose updates are in the sum, sorted
  int64_t remaining_ms = 0;           // of the deadline, refreshed now and then
  int64_t opened_ms = 0;              // Unix time
  std::string reason;                 // of an abandoned attempt
  RoundFigures figures;               // of a done one
};

// An acknowledged update; key (job, round, attempt, client).
struct UpdateRecord {
  std::string job;
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string client;
  std::string sha256;
  uint64_t bytes = 0;
  int64_t weight = 0;
  int64_t examples = 0;
  int64_t tokens = 0;
  int64_t steps = 0;
  double loss = 0;
  double grad_norm = 0;
};

// A published global state; key (job, round). Round 0 is the initial state.
struct ModelRecord {
  std::string job;
  uint64_t round = 0;
  std::string parent_sha256;  // blob of the state it came from; empty for round 0
  std::string sha256;         // blob: safetensors of the trainable state
  uint64_t bytes = 0;
  std::string state_hash;        // ParameterSet::HashHex()
  std::string optimizer_sha256;  // blob of the server optimiser's state; empty when it has none
  // With [scalars]: blob of the log by which clients make this state, and where in all that was
  // ever logged it begins (common/scalars/log_position.h); empty where there is none. With codec
  // power-sgd, after a first pass: blob of its mean, which the second goes by.
  std::string log_sha256;
  uint64_t log_bytes = 0;
  uint64_t log_from = 0;
};

// Held-out evaluation of one global state; key (job, round).
struct EvaluationRecord {
  std::string job;
  uint64_t round = 0;
  bool done = false;
  std::vector<std::string> clients;  // asked, sorted
  int64_t remaining_ms = 0;
};

// One client's sums; key (job, round, client).
struct EvaluationReportRecord {
  std::string job;
  uint64_t round = 0;
  std::string client;
  int64_t loss_fixed = 0;  // llround(summed loss in nats * 2^20)
  int64_t counted = 0;
  int64_t correct = 0;
};

// A task a client gave up; key (job, round, attempt, client). Attempt 0 is an evaluation.
struct FailureRecord {
  std::string job;
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string client;
  std::string code;  // short, stable: "out-of-memory"
  std::string text;
};

// What one round must not forget and nobody else may see; key (job, round, attempt, name). Names:
//   "masking"  the state of its secure aggregation (privacy/secagg/server), perhaps in pieces
//              (secret_pieces.h)
//   "noise"    the seed of its noise: a crash must not draw other noise for the same data
// and with round 0, attempt 0, for the life of a job: "cohort", the seed of its secret draws, and
// "noise", that of noise which its rounds share; "clip-norm", where adaptive clipping has got to;
// "average", the blob of the average of its states that evaluations are of; "choice", the next
// round's of its candidate directions.
// Erased from the disk when it is dropped.
struct SecretRecord {
  std::string job;
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string name;
  SecretText bytes;
};

// One release under differential privacy (privacy/dp/ledger.h); key (job, round, attempt). Never
// changed, never deleted: no row, no round.
struct LedgerRecord {
  std::string job;
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string row;  // canonical JSON
};

// Writes. Put* inserts and fails with AlreadyExists when the key is taken; Move* is a
// compare-and-set and fails with FailedPrecondition naming the state seen and the state wanted.
struct PutJob {
  JobRecord job;
};
struct MoveJob {
  std::string id;
  JobState from = JobState::kActive;
  JobState to = JobState::kActive;
  int exit_code = 0;
  std::string reason;
  int64_t ended_ms = 0;
  bool stop_now = false;
};
struct PutRound {
  RoundRecord round;  // state kOpen
};
struct MoveRound {
  std::string job;
  uint64_t round = 0;
  uint32_t attempt = 0;
  RoundState from = RoundState::kOpen;
  RoundState to = RoundState::kOpen;
  std::vector<std::string> counted;  // written when `to` is kClosed
  std::string reason;                // written when `to` is kAbandoned
  RoundFigures figures;              // written when `to` is kDone, which may be `from` as well
};
struct PutUpdate {
  UpdateRecord update;  // also FailedPrecondition when its attempt is not kOpen
};
struct PutModel {
  ModelRecord model;
};
struct PutEvaluation {
  EvaluationRecord evaluation;
};
struct CloseEvaluation {
  std::string job;
  uint64_t round = 0;
};
struct PutEvaluationReport {
  EvaluationReportRecord report;
};
// Refused where the client has a failure of that attempt already, unless it `replaces` it.
struct PutFailure {
  FailureRecord failure;
  bool replaces = false;
};
// The remaining deadline of an open attempt, or of an open evaluation when `attempt` is 0.
struct SetRemaining {
  std::string job;
  uint64_t round = 0;
  uint32_t attempt = 0;
  int64_t remaining_ms = 0;
};
// JobRecord::waiting_ms.
struct SetWaiting {
  std::string job;
  int64_t waiting_ms = -1;
};
struct SetSecret {  // inserts or replaces
  SecretRecord secret;
};
struct DropSecrets {  // of one attempt
  std::string job;
  uint64_t round = 0;
  uint32_t attempt = 0;
};
struct PutLedger {
  LedgerRecord entry;
};
using Write = std::variant<PutJob, MoveJob, PutRound, MoveRound, PutUpdate, PutModel, PutEvaluation,
                           CloseEvaluation, PutEvaluationReport, PutFailure, SetRemaining,
                           SetWaiting, SetSecret, DropSecrets, PutLedger>;

// Everything a starting coordinator needs to go on. Updates are those of open and closed attempts,
// and of each job's last done round, for whoever asks for a receipt again; those of earlier ones
// are only counted in their round's figures.
struct StoredState {
  std::vector<JobRecord> jobs;  // in order of submission
  std::vector<RoundRecord> rounds;
  std::vector<UpdateRecord> updates;
  std::vector<ModelRecord> models;
  std::vector<EvaluationRecord> evaluations;
  std::vector<EvaluationReportRecord> reports;
  std::vector<FailureRecord> failures;
  std::vector<SecretRecord> secrets;
  std::vector<LedgerRecord> ledger;  // in order of job, round, attempt
};

// What must survive: jobs, rounds, acknowledged updates, published models. Thread safe.
class StateStore {
 public:
  virtual ~StateStore() = default;

  // Adds one to the boot epoch, durably, and returns it. Once per start, before anything else.
  virtual absl::StatusOr<uint64_t> NextEpoch() = 0;

  // All of `writes` or none, durable when it returns OK. Concurrent calls share one commit.
  // Errors: those of the writes; ResourceExhausted (kRetryLater) when the disk is full, nothing
  // is lost. A failed fsync aborts the process.
  virtual absl::Status Commit(const std::vector<Write>& writes) = 0;

  virtual absl::StatusOr<StoredState> Load() = 0;
};

// directory/rivulet.db (SQLite, WAL, synchronous=FULL, exclusive) under a lock on directory/lock.
// Links on the way to `directory` are followed, the database itself must be none. Errors, all with
// exit code 8: FailedPrecondition when another coordinator holds the directory or the schema is
// of another version; DataLoss when the database is damaged; those of the file system.
absl::StatusOr<std::unique_ptr<StateStore>> OpenSqliteStateStore(
    const std::filesystem::path& directory, DurableStep before_step = {});

// The twin for tests and the simulation: the same contract, gone with the process.
std::unique_ptr<StateStore> MakeMemoryStateStore();

}  // namespace rivulet
