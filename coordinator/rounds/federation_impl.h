#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "coordinator/rounds/averaged_state.h"
#include "coordinator/rounds/coded_round.h"
#include "coordinator/rounds/federation.h"
#include "coordinator/rounds/masked_round.h"
#include "coordinator/rounds/refusals.h"
#include "coordinator/rounds/round_engine.h"
#include "coordinator/rounds/round_privacy.h"
#include "coordinator/rounds/running_round.h"
#include "coordinator/rounds/upload_check.h"

namespace rivulet {

class IncomingUpdate;
struct AggregatedRound;

// A peer's numbers stay small enough that the sums over any cohort are finite and fit 64 bits.
inline constexpr int64_t kMostCounted = int64_t{1} << 40;

inline constexpr std::chrono::milliseconds kTryAgainAfter{1000};  // of a disk that is full

// Names of a round's or job's secrets in the store (state_store.h).
inline constexpr char kMaskingSecret[] = "masking";
inline constexpr char kNoiseSecret[] = "noise";
inline constexpr char kCohortSecret[] = "cohort";
inline constexpr char kClipNorm[] = "clip-norm";
inline constexpr char kAverage[] = "average";
inline constexpr char kChoice[] = "choice";

// The exit code of a job that an error ends.
inline ExitCode JobExitOf(const absl::Status& error) {
  return ExitCodeOf(error) == ExitCode::kBudget ? ExitCode::kBudget : ExitCode::kJobFailed;
}

// Half uploads of one attempt are kept under keys that begin with this.
std::string PartialKeyPrefix(const std::string& job, uint64_t round, uint32_t attempt);

// The insides of Federation, in several files: jobs (submit, stop), recovery, actions (what the
// engine wants done), work (aggregate, publish), snapshots (states that are in memory alone),
// privacy, masking, clients (connections, their queues, reports), uploads, view. One mutex guards
// everything below; methods named "...Locked" need it held.
class Federation::Impl {
 public:
  Impl(FederationConfig config, StateStore& states, BlobStore& blobs, ClientGateway& gateway,
       const Clock& clock);
  ~Impl();

  struct TaskKey {
    std::string job;
    uint64_t round = 0;
    uint32_t attempt = 0;  // 0: an evaluation
    bool operator==(const TaskKey&) const = default;
  };

  struct Client {
    ClientFacts facts;
    // Before it was renewed: an attempt in hand names the one that it began with.
    std::string former_fingerprint, former_certificate;
    bool connected = false;
    std::optional<TaskKey> running;
    std::deque<TaskKey> queue;  // one task at a time: the others wait
    int64_t last_seen_ms = 0;
  };

  // What an attempt that is about to open would release; no answer while it is being found.
  struct Planning {
    ReleaseQuestion question;
    std::optional<absl::StatusOr<LedgerRow>> answer;
  };

  struct MadeState {
    std::string sha256;
    ParameterSet values;
  };

  struct Job {
    JobRecord record;
    std::string document_sha256;          // 64 hex digits
    std::shared_ptr<const JobPlan> plan;  // null once it has ended
    std::unique_ptr<RoundEngine> engine;  // null once it has ended
    uint64_t num_rounds = 0;
    bool noised = true;  // under a privacy.mechanism; until its document says otherwise
    bool evaluates_in_clear = false;  // all the same, held-out figures are reported without noise
    std::deque<Action> backlog;       // actions that a full disk holds up
    std::map<uint64_t, ModelRecord> models;
    uint64_t snapshot = 0;            // the last round whose state is in the blob store
    bool storing = false;             // and today's is wanted there
    std::vector<std::string> former;  // blobs of snapshots that tasks of this round may name
    absl::Status unstorable;          // why the last attempt failed
    bool last_try = false;            // its end, which waits, has asked for it
    std::vector<RoundRecord> rounds;  // every attempt, the last one at the end
    std::vector<EvaluationRecord> evaluations;
    std::vector<EvaluationReportRecord> reports;
    std::vector<FailureRecord> failures;
    std::map<std::string, std::string> excluded;  // clients that take part no more, and why
    std::vector<UpdateRecord> updates;            // acknowledged, of the last attempt
    std::vector<ReceivedUpdate> received;         // those of them that this process received
    size_t summed = 0;                            // the first so many of them are in `running`
    std::shared_ptr<RunningRound> running;        // used by whoever holds `working_`
    std::shared_ptr<MadeState> made;              // today's state while it is not stored
    std::shared_ptr<const CodedRound> coded;      // of the last round that was asked for
    std::vector<UpdateRecord> previous;           // counted in the last published round
    // With a log of coefficients: where in it the state stands that a client answered for last, to
    // this process; and the end of today's log, by the log's hash.
    std::map<std::string, uint64_t> stands;
    std::pair<std::string, std::string> log_end;
    std::map<std::string, std::shared_ptr<IncomingUpdate>> uploads;  // under way, by client
    int committing = 0;  // updates between check and row
    bool freezing = false;
    std::shared_ptr<MaskedRound> masked;      // of the open or closed attempt, under masks
    std::deque<MaskedRound::Output> masking;  // what it asked for, still to be done
    std::vector<LedgerRow> releases;          // under differential privacy, oldest first
    std::string data_set;                     // that they are counted under; empty without
    std::optional<Planning> planning;         // of the attempt that is about to open
    std::optional<LedgerRow> planned;         // of the open attempt
    bool resuming = false;                    // after a restart, until it is found again
    SecretText noise_seed;                    // of the closed round; 32 bytes
    SecretText run_seed;                      // of noise that rounds share; 32 bytes
    double clip_norm = 0;    // adaptive clipping: of the next round; 0 = the job's own
    SecretText cohort_seed;  // of secret draws; 32 bytes
    bool opening = false;    // the sum can be opened; `masked` is the worker's
    int64_t bytes_down =
        0;  // since the last published round, or the beginning; forgotten by a restart
    int64_t all_bytes_up = 0;  // of published rounds
    int64_t all_protocol_bytes_up = 0;
    int64_t all_bytes_down = 0;
    std::chrono::milliseconds saved_remaining{0};  // when the remaining time was last stored
    std::optional<AveragedState> average;          // with evaluate.ema, from round 1 on
    std::shared_ptr<MadeState> averaged;           // its numbers, where it is made from the log
    std::string choice;  // with scalars.candidates: ScalarRound::choice of the next round
  };

  absl::Status Recover();
  absl::StatusOr<SubmitNeeds> NeedsOf(const JobSubmission& submission) const;
  absl::StatusOr<std::string> Submit(const JobSubmission& submission);
  absl::Status Stop(const std::string& job, bool now);
  std::vector<JobView> List() const;
  absl::StatusOr<std::string> Resolve(const std::string& job) const;
  absl::StatusOr<JobView> Show(const std::string& job) const;
  absl::StatusOr<bool> Ended(const std::string& job) const;
  absl::StatusOr<std::vector<NamedBlob>> Downloads(const std::string& job) const;
  absl::StatusOr<std::unique_ptr<BlobReader>> OpenDownload(const std::string& job,
                                                           const std::string& sha256,
                                                           const std::function<bool()>& gone);
  std::vector<ClientView> Clients() const;
  void Connected(const ClientFacts& facts);
  void Disconnected(const std::string& client);
  void PinCompanionsLocked(const ModelRecord& model);
  void UnpinCompanionsLocked(const ModelRecord& model);
  absl::StatusOr<std::unique_ptr<BlobReader>> OpenState(const std::string& client,
                                                        const std::string& sha256, uint64_t offset);
  absl::StatusOr<std::shared_ptr<UploadSession>> BeginUpload(const std::string& client,
                                                             const UpdateHeader& header);
  std::vector<absl::Status> Report(const std::vector<ClientReport>& reports);
  absl::StatusOr<std::vector<ReleaseView>> Ledger(const std::string& job) const;
  absl::Status Masking(const std::string& client, const MaskingMessage& message);
  void Tick();
  std::optional<std::chrono::milliseconds> NextDeadline() const;
  uint64_t Subscribe(const std::string& job, Watcher watcher);
  void Unsubscribe(uint64_t subscription);
  absl::StatusOr<JobView> WaitForEnd(const std::string& job, std::chrono::milliseconds patience);
  uint64_t epoch() const { return epoch_; }

  // For IncomingUpdate. StartCommit counts the update in and pins its blob, or says why it is not
  // wanted; every success is followed by one FinishCommit with the outcome of the commit.
  absl::Status StartCommit(const std::string& client, const UpdateHeader& header,
                           std::string_view trailer);
  void FinishCommit(const ReceivedUpdate& received, const absl::Status& outcome);
  void DropUpload(const std::string& job, const std::string& client, const IncomingUpdate* upload);
  StateStore& states() { return states_; }

 private:
  struct Work {
    std::string job;
    std::chrono::milliseconds not_before{0};
  };

  // ---- jobs ----
  Job* FindLocked(const std::string& id);
  const Job* FindLocked(const std::string& id) const;
  absl::StatusOr<std::string> RepeatedSubmitLocked(const JobSubmission& submission) const;
  std::string NewJobIdLocked(const JobSubmission& submission) const;

  // ---- recovery ----
  absl::Status AdoptStoredLocked(const StoredState& stored);
  absl::Status ResumeLocked(Job& job);
  std::unique_ptr<RoundEngine> MakeEngine(const Job& job, EngineState state) const;
  EngineState RebuildLocked(const Job& job) const;
  static bool Counts(const Job& job, const RoundRecord& round,
                     const std::map<std::string, uint32_t>& refused);
  void RebuildRound(const Job& job, const RoundRecord& round, EngineState& state) const;
  void RebuildEvaluation(const Job& job, const EvaluationRecord& evaluation,
                         EngineState& state) const;
  absl::Status CheckBlobs(const Job& job, const JobPlan& plan) const;
  absl::Status CheckBlob(const std::string& what, const std::string& sha256, uint64_t bytes) const;
  absl::Status CheckAverage(const Job& job, const JobPlan& plan) const;
  absl::StatusOr<uint64_t> FindSnapshot(const Job& job, const JobPlan& plan) const;
  absl::Status CollectGarbageLocked();

  // ---- actions ----
  std::chrono::milliseconds Now() const { return clock_.Monotonic(); }
  void FeedLocked(Job& job, const Event& event);
  void DrainLocked(Job& job);
  absl::Status PerformLocked(Job& job, const OpenRound& action);
  absl::Status PerformLocked(Job& job, const AssignTraining& action);
  absl::Status PerformLocked(Job& job, const AssignEvaluation& action);
  absl::Status PerformLocked(Job& job, const Revoke& action);
  absl::Status PerformLocked(Job& job, const Freeze& action);
  absl::Status PerformLocked(Job& job, const CloseRound& action);
  absl::Status PerformLocked(Job& job, const AbandonRound& action);
  absl::Status PerformLocked(Job& job, const LoseRound& action);
  absl::Status PerformLocked(Job& job, const OpenEvaluation& action);
  absl::Status PerformLocked(Job& job, const EndEvaluation& action);
  absl::Status PerformLocked(Job& job, const EndJob& action);
  void EndAttemptLocked(Job& job, const std::string& reason);
  void EndUploadsLocked(Job& job);
  void SweepPartialsLocked();
  void EmitLocked(const Job& job, const char* type, uint64_t round,
                  std::vector<std::pair<std::string, JobEvent::Value>> data = {});
  void SaveRemainingLocked(Job& job);

  // ---- masks ----
  absl::Status StartMaskingLocked(Job& job, const OpenRound& action);
  absl::Status ResumeMaskingLocked(Job& job, const std::vector<SecretRecord>& secrets);
  absl::Status CloseMaskedLocked(Job& job, MoveRound close);
  absl::Status ReadTrailersLocked(Job& job);
  void DoMaskingLocked(Job& job, MaskedRound::Output output);
  void ExcludeLocked(Job& job, const std::string& client, const std::string& why);
  void LoseLocked(Job& job, const std::string& client, const std::string& why);
  std::vector<std::string> CertificatesLocked(const Job& job, const std::string& client,
                                              const std::string& bytes) const;
  void TellLocked(const Job& job, const std::vector<MaskedRound::Message>& messages);
  void MaskingTimeLocked(Job& job);
  void MaskingGoneLocked(Job& job, const FailureRecord& failure);
  void MaskingReturnedLocked(Job& job, const std::string& client);
  void EndMaskingLocked(Job& job);
  void RebuildSecrets(Job& job, std::unique_lock<std::mutex>& lock);
  MaskedRound::Limits MaskingLimits(const Job& job) const;
  std::vector<Write> MaskingWrites(const Job& job) const;

  // ---- privacy ----
  ReleaseQuestion ReleaseQuestionLocked(const Job& job, const OpenRound& action) const;
  bool ReleaseIsPlannedLocked(Job& job, const OpenRound& action);
  void PlanRelease(Job& job, std::unique_lock<std::mutex>& lock);
  absl::Status TakePlanLocked(Job& job);
  absl::Status ChargeLocked(Job& job, const MoveRound& close, std::vector<Write>& writes);
  void ChargedLocked(Job& job);
  RoundTerms TermsOfLocked(const Job& job, size_t invited) const;
  void ResumePlanLocked(Job& job);
  void PlanResumed(Job& job, std::unique_lock<std::mutex>& lock);
  absl::Status AdoptPrivacyLocked(const StoredState& stored);

  // ---- work ----
  void WorkLoop();
  bool WorkOnce(std::unique_lock<std::mutex>& lock);  // false: nothing is due
  std::shared_ptr<RunningRound> RunningOf(Job& job);
  void KeepStateLocked(Job& job, const std::string& sha256, ParameterSet values);
  void KeepParentLocked(Job& job, RunningRound& running);
  void ReturnRunningLocked(Job& job, std::shared_ptr<RunningRound> running);
  // What reads the uploads of the round in progress; null where they are not coded.
  std::shared_ptr<const CodedRound> CodedOfLocked(Job& job);
  static bool AwaitsPlan(const Job& job) { return job.planning && !job.planning->answer; }
  std::deque<Work>::iterator DueLocked();
  void SumArrived(Job& job, std::unique_lock<std::mutex>& lock);
  void DropSumLocked(Job& job);
  void FreeDropped(std::unique_lock<std::mutex>& lock);
  void PublishLocked(Job& job, absl::StatusOr<AggregatedRound> result);
  void RetireLocked(Job& job);
  void RetireParentLocked(Job& job);
  void SetAverageLocked(Job& job, std::optional<AveragedState> average);
  AverageBefore TakeAverageLocked(Job& job);

  // ---- states that are in memory alone (snapshots.h) ----
  static bool IsStored(const Job& job) { return job.snapshot == job.models.rbegin()->first; }
  static const ModelRecord& LogBase(const Job& job);     // from where the log leads onwards
  static const ModelRecord& SnapshotOf(const Job& job);  // what today's state is read from
  void StoredStateLocked(Job& job, uint64_t round);
  void SetSnapshotLocked(Job& job, uint64_t round);
  void DropFormerLocked(Job& job);
  void WantStateLocked(Job& job);
  absl::Status AskForStateLocked(Job& job);
  bool EndIsStoredLocked(Job& job);
  void StoreToday(Job& job, std::unique_lock<std::mutex>& lock);
  absl::StatusOr<AveragedState> KeepAverage(const JobPlan& plan, AverageBefore before);

  // ---- blobs: names in use; unused ones are deleted when nobody is about to use one ----
  void PinLocked(const std::string& sha256);
  void UnpinLocked(const std::string& sha256);
  void SweepLocked();
  void SweepSlowly(std::unique_lock<std::mutex>& lock);

  // ---- clients ----
  bool EligibleLocked(const Job& job, const Client& client) const;
  void EnqueueLocked(const std::string& client, TaskKey key);
  void TaskOverLocked(const std::string& client, const TaskKey& key);
  void PumpLocked(const std::string& name, Client& client);
  std::optional<ClientTask> TaskOfLocked(const std::string& client, const TaskKey& key);
  void BringLogLocked(Job& job, const std::string& client, ClientTask& task);
  void StandsAtTodayLocked(Job& job, const std::string& client);
  void FlagLocked(const Job& job, const ReceivedUpdate& received);
  absl::StatusOr<Job*> OpenJobLocked(const std::string& id);
  absl::StatusOr<std::optional<Write>> WriteOfLocked(const FailureRecord& report);
  absl::StatusOr<std::optional<Write>> WriteOfLocked(const EvaluationReportRecord& report);
  void StoredLocked(const FailureRecord& report);
  void StoredLocked(const EvaluationReportRecord& report);

  // ---- views ----
  void DescribeLocked(Job& job, const JobSpec& spec);
  JobView ViewLocked(const Job& job, bool whole) const;
  RoundView RoundViewLocked(const Job& job, const RoundRecord& round,
                            std::vector<std::string> failed) const;

  const FederationConfig config_;
  StateStore& states_;
  BlobStore& blobs_;
  ClientGateway& gateway_;
  const Clock& clock_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // something worth watching happened
  std::condition_variable work_ready_;
  std::atomic<uint64_t> epoch_{0};
  std::vector<std::unique_ptr<Job>> jobs_;  // in order of submission
  std::map<std::string, Client> clients_;
  std::map<std::string, int> pins_;
  std::set<std::string> unpinned_;
  int putting_ = 0;  // blobs being made whose names are not known yet
  std::deque<Work> work_;
  bool working_ = false;
  // The stored state that was made last, for the next round of its job: it need not be read and
  // verified. One of all jobs, since each takes the memory of a model.
  std::shared_ptr<MadeState> made_;
  std::vector<std::shared_ptr<const void>> dropped_;  // to be freed without the lock
  bool ending_ = false;
  std::map<uint64_t, std::pair<std::string, Watcher>> watchers_;
  uint64_t next_watcher_ = 1;
  std::thread worker_;
};

// One update on its way in.
class IncomingUpdate : public UploadSession {
 public:
  IncomingUpdate(Federation::Impl& owner, std::string client, UpdateHeader header, int64_t weight,
                 std::shared_ptr<const JobPlan> plan, std::shared_ptr<const CodedRound> coded,
                 std::optional<secagg::Params> masked, BlobStore& blobs);
  // One that was accepted before.
  explicit IncomingUpdate(Federation::Impl& owner, const UpdateRecord& accepted, BlobStore& blobs);
  ~IncomingUpdate()
      override;  // keeps the bytes for a restarted coordinator, unless the upload is over

  std::optional<Receipt> receipt() const override;
  uint64_t committed() override;
  absl::Status AppendPieces(uint64_t offset, ByteSpans pieces) override;
  absl::StatusOr<Receipt> Finish() override;

  const UpdateHeader& header() const { return header_; }
  void End() { over_ = true; }  // its round takes no more updates

 private:
  absl::Status CheckOver() const;
  absl::Status OpenWriter();
  absl::Status CheckAdopted();
  void StartOver();
  absl::Status Check();
  absl::Status Store();

  Federation::Impl& owner_;
  BlobStore& blobs_;
  const std::string client_;
  const UpdateHeader header_;
  const int64_t weight_;
  const std::shared_ptr<const JobPlan> plan_;
  const std::optional<secagg::Params> masked_;
  const std::shared_ptr<const CodedRound> coded_;  // null where the job's uploads are not
  std::atomic<bool> over_{false};
  mutable std::mutex mutex_;
  std::unique_ptr<BlobWriter> writer_;    // null before the first byte and after Finish
  std::unique_ptr<UploadCheck> checker_;  // has seen what the writer has
  std::optional<Receipt> receipt_;
};

}  // namespace rivulet
