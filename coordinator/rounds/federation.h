#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "common/clock.h"
#include "common/status.h"
#include "coordinator/rounds/client_gateway.h"
#include "coordinator/rounds/job_plan.h"
#include "coordinator/rounds/job_view.h"
#include "coordinator/storage/blob_store.h"
#include "coordinator/storage/state_store.h"

namespace rivulet {

struct FederationConfig {
  JobPlanner planner = PlanOf;
  SpecReader reader = SpecOf;  // of the same documents
  // true: a thread of the federation's own aggregates and publishes; false: Tick() does, in the
  // caller's thread (tests and virtual time).
  bool background = true;
  // How long a round waits for the clients of the last one to return, e.g. after a restart. More
  // than the 60 s that an agent waits at most between two attempts to connect.
  std::chrono::milliseconds return_grace{90000};
  // Whether job.round-deadline ends the wait for updates and evaluations. Where clients are
  // simulated nobody is late with those, but waits for one of few workers. It bounds unmasking in
  // any case.
  bool round_deadlines = true;
  uint64_t low_water_bytes = uint64_t{256} << 20;   // disk left below which uploads are put off
  std::chrono::milliseconds state_patience{60000};  // of a download, for its state to be stored
};

struct JobSubmission {
  std::string document;      // canonical JSON (common/job/job_document.h)
  std::string submit_token;  // same token and document: the same job; empty: always a new one
  // The file that the document's base_tensors names; null when it names none. Must outlive the
  // call.
  const BlobReader* base_tensors = nullptr;
};

// What Submit still wants besides document and token.
struct SubmitNeeds {
  std::string job;            // an earlier submit made this one: nothing more need be sent
  uint64_t base_tensors = 0;  // most bytes that the file of base tensors can have; 0 = no file
};

// What a client declares before it uploads; checked against the file once that is there.
struct UpdateHeader {
  std::string job_id;
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string sha256;  // of the file, 64 hex digits
  uint64_t bytes = 0;
  int64_t examples = 0;
  int64_t tokens = 0;
  int64_t steps = 0;
  double loss = 0;
  double grad_norm = 0;
};

// The durable answer to an upload.
struct Receipt {
  std::string job_id;
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string sha256;
  uint64_t bytes = 0;
};

struct EvaluationReport {
  int64_t loss_fixed = 0;  // llround(summed loss in nats * 2^20)
  int64_t counted = 0;
  int64_t correct = 0;
};

using ClientReport = std::variant<FailureRecord, EvaluationReportRecord>;

// One update on its way in: a safetensors file of F32 deltas with exactly the job's manifest.
// Survives the stream that carried it: BeginUpload with the same header returns the same session,
// and while its round is open a restarted coordinator goes on with the bytes of the old one. Thread
// safe.
class UploadSession {
 public:
  virtual ~UploadSession() = default;
  // Set when this very update was accepted before: nothing more need be sent.
  virtual std::optional<Receipt> receipt() const = 0;
  // Bytes here; send from this offset on. They survive the death of the process; those that a power
  // loss took are missed by the final hash, and the upload starts over. Reads a file: not for
  // threads that must not wait.
  virtual uint64_t committed() = 0;
  // Errors: DataLoss (kResync) when `offset` is not committed(); OutOfRange past the declared size;
  // FailedPrecondition when the round has closed; ResourceExhausted (kRetryLater): what was taken
  // of the call shows in committed(). The pieces follow each other.
  virtual absl::Status AppendPieces(uint64_t offset, ByteSpans pieces) = 0;
  absl::Status Append(uint64_t offset, std::span<const std::byte> bytes) {
    return AppendPieces(offset, {&bytes, 1});
  }
  // Validates, makes file and row durable, answers. Errors: DataLoss (kResync) for a wrong hash or
  // an incomplete file (it starts over); InvalidArgument (kLeaveRun) naming tensor, value seen and
  // value wanted; FailedPrecondition when the round has closed.
  virtual absl::StatusOr<Receipt> Finish() = 0;
};

// Drives all jobs of a coordinator, whoever delivers its events: gRPC threads in the daemon,
// executor threads in the simulation. No gRPC, no SQL. Thread safe; reading, hashing, summing and
// the server step happen outside its lock. Stores, gateway and clock must outlive it.
class Federation {
 public:
  Federation(FederationConfig config, StateStore& states, BlobStore& blobs, ClientGateway& gateway,
             const Clock& clock);
  ~Federation();
  Federation(const Federation&) = delete;
  Federation& operator=(const Federation&) = delete;

  // Once, before anything else: epoch + 1, open rounds go on with what is left of their deadline,
  // closed ones are computed again and published, blobs without a row and half uploads of rounds
  // that are not open are deleted. A job whose blobs are lost fails. Errors, with exit code 8 and
  // nothing decided: any other that keeps a job from going on.
  absl::Status Recover();
  uint64_t epoch() const;

  // ---- operators ----
  // Asked before anything of a submission's file is stored. Errors: as Submit;
  // ResourceExhausted (kRetryLater) when the disk has no room for it.
  absl::StatusOr<SubmitNeeds> NeedsOf(const JobSubmission& submission) const;
  // The job's id. Once it returns, the first global state is stored: a restart needs no file of
  // base tensors. Errors: InvalidArgument (exit 3); AlreadyExists for a token used with another
  // document; DataLoss for base tensors of another hash than the document's.
  absl::StatusOr<std::string> Submit(const JobSubmission& submission);
  // After the open round, or at once with `now`. OK when it is already stopping; FailedPrecondition
  // when it has ended.
  absl::Status Stop(const std::string& job, bool now);
  std::vector<JobView> List() const;  // without rounds, evaluations and documents
  // `job`: an id, a unique prefix of one, or "@last". Errors: NotFound; InvalidArgument (several).
  absl::StatusOr<std::string> Resolve(const std::string& job) const;
  absl::StatusOr<JobView> Show(const std::string& job) const;
  absl::StatusOr<bool> Ended(const std::string& job) const;  // cheap, for whoever asks often
  absl::StatusOr<std::vector<NamedBlob>> Downloads(const std::string& job) const;
  // One of Downloads. Today's state of a job that keeps a log may be in memory alone: it is stored
  // first, which the call waits for. Errors: NotFound; Unavailable (kRetryLater) where that takes
  // more than state_patience, or the next state was published meanwhile; ResourceExhausted
  // (kRetryLater) when the disk has no room for it; those of the blob store; Cancelled soon after
  // the caller is `gone`.
  absl::StatusOr<std::unique_ptr<BlobReader>> OpenDownload(
      const std::string& job, const std::string& sha256,
      const std::function<bool()>& gone = [] { return false; });
  std::vector<ClientView> Clients() const;

  // ---- agents ----
  // Names are 1..200 bytes without control characters; others are ignored. Again for the same name
  // replaces what was there: its tasks are sent anew.
  void Connected(const ClientFacts& facts);
  void Disconnected(const std::string& client);
  // The global state of a task this client has, or the log and the snapshot by which it makes it
  // for itself; what is read from `offset` on counts as sent. Errors: Unavailable (kRetryLater) for
  // a state that is in memory alone: it is stored now, or once the disk has room for it;
  // PermissionDenied for any other blob.
  absl::StatusOr<std::unique_ptr<BlobReader>> OpenState(const std::string& client,
                                                        const std::string& sha256,
                                                        uint64_t offset = 0);
  // Errors: NotFound (job); PermissionDenied (not in the cohort); FailedPrecondition (kResync:
  // round closed, other attempt); AlreadyExists (another update was accepted); InvalidArgument
  // (size, counts); ResourceExhausted (kRetryLater).
  absl::StatusOr<std::shared_ptr<UploadSession>> BeginUpload(const std::string& client,
                                                             const UpdateHeader& header);
  // The client gives a task up. `attempt` 0: an evaluation. First report wins, later ones are OK.
  absl::Status ReportFailure(const std::string& client, const std::string& job, uint64_t round,
                             uint32_t attempt, const std::string& code, const std::string& text);
  absl::Status ReportEvaluation(const std::string& client, const std::string& job, uint64_t round,
                                const EvaluationReport& report);
  // A client's message of secure aggregation. The sender is who its certificate says. Errors:
  // FailedPrecondition (kResync: no such attempt is open, or the protocol's phase is over); those
  // of the protocol, which concern the sender alone.
  absl::Status Masking(const std::string& client, const MaskingMessage& message);
  // Several reports with one commit, each with its own answer: what decides how many a second a
  // slow disk can acknowledge.
  std::vector<absl::Status> Report(const std::vector<ClientReport>& reports);

  // What was released, oldest first: of one job, or with an empty name of all. Errors: those of
  // Resolve.
  absl::StatusOr<std::vector<ReleaseView>> Ledger(const std::string& job) const;

  // ---- driver ----
  // Fires deadlines by the clock; with `background` false also does pending work. At least every
  // 250 ms in the daemon, whenever idle in the simulation.
  void Tick();
  // When the next deadline falls due (monotonic), for a driver with virtual time.
  std::optional<std::chrono::milliseconds> NextDeadline() const;

  // ---- watchers ----
  // `job` empty: all jobs. Called in order with the lock held: return at once, never call back.
  using Watcher = std::function<void(const JobEvent&)>;
  uint64_t Subscribe(const std::string& job, Watcher watcher);
  void Unsubscribe(uint64_t subscription);  // no call is under way once it returns
  // Blocks until the job has ended or `patience` (real time) is over: the view then.
  absl::StatusOr<JobView> WaitForEnd(const std::string& job, std::chrono::milliseconds patience);

  class Impl;  // federation_impl.h

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace rivulet
