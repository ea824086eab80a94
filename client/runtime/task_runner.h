#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "client/runtime/example_ledger.h"
#include "client/runtime/local_update.h"
#include "client/upload/update_encoder.h"
#include "common/job/job_spec.h"
#include "common/scalars/log_position.h"
#include "common/tensor/parameter_set.h"
#include "peft/data/example.h"
#include "peft/trainer/tuner.h"

namespace rivulet {

class ScalarForm;
class Tokenizer;

// Where local work finds what the wire never names: folders and files of this machine. The agent
// answers from its owner's policy, the simulation from its partition. Must be safe to call from
// several threads.
class LocalResources {
 public:
  virtual ~LocalResources() = default;
  // Folder of the base model with this identity ("sha256:<hex>"). Errors: FailedPrecondition (exit
  // 9) when there is none.
  virtual absl::StatusOr<std::filesystem::path> BaseModel(const JobSpec& spec,
                                                          const std::string& base_hash) = 0;
  // This client's examples for data.dataset, tokenised. `max_positions` bounds seq-length.
  virtual absl::StatusOr<ClientData> Data(const std::string& client, const JobSpec& spec,
                                          const Tokenizer& tokenizer, int max_positions) = 0;
};

struct LocalTask {
  std::string client;
  std::string job_document;  // canonical JSON (common/job/job_document.h)
  uint64_t round = 0;
  std::string job_id;
  uint32_t attempt = 0;
  std::string state_sha256 = {};  // hex, of the file of the round's global state
  // Of the round's global state, where one is kept; in a second pass the first's mean.
  std::optional<StateLog> log;
  uint64_t state_bytes = 0;
  bool project_gradient = false;  // of TuneRequest, as the next
  std::optional<uint64_t> session_root = {};
  std::string choice = {};

  UploadKey upload() const { return {job_id, client, round, attempt}; }
};

// A safetensors file of a global state, in memory. Shared: who read it, the tasks of a round and
// what is kept for the next one need no copies.
using StateFile = std::shared_ptr<const std::string>;

// One task's local work: the same code in the agent and in the simulation, which is why both reach
// the same bits. Keeps base model, tuner and tokenised data of the job it worked on last, and only
// of that one: jobs come and go for as long as an agent lives. The same document under another job
// id keeps the model, asks LocalResources for it again, and reads the data anew. Thread safe; tasks
// of different clients run at once.
class TaskRunner {
 public:
  using TunerFactory = std::function<absl::StatusOr<std::unique_ptr<Tuner>>(
      const std::filesystem::path& base_model, const JobSpec& spec)>;

  // `factory` empty: MakeJobTuner. `examples` null: one that is gone with the runner. `resources`
  // must outlive the runner.
  explicit TaskRunner(LocalResources& resources, TunerFactory factory = {},
                      UpdateEncoder encoder = UpdateEncoder(),
                      std::unique_ptr<ExampleLedger> examples = nullptr);
  ~TaskRunner();

  // With [scalars]: from which byte on the task's log is needed to make its state from what this
  // runner holds; nothing where the state must be fetched, or is there sooner so. The state of the
  // job's last task is held, and where evaluations are of an average that the log leads to
  // (KeepsAverage), that average: in what follows it stands for the state of such an evaluation.
  std::optional<uint64_t> MissingLog(const LocalTask& task);
  // That state's file. `snapshot`: the file of the log's snapshot, where that is what the rest
  // follows. Errors: DataLoss for bytes that are no rest of the task's log; InvalidArgument for
  // more since the snapshot than kMostReplay; Aborted when `cancelled`; those of LocalResources.
  absl::StatusOr<std::string> CatchUp(const LocalTask& task, std::string_view rest,
                                      const std::function<bool()>& cancelled = {},
                                      std::string_view snapshot = {});

  // Whether Train would draw from the pool by sums that are not here, or a second pass would go by
  // a mean that is not: TakeLog first.
  bool LacksLog(const LocalTask& task);
  // The whole of the task's log, or that mean. Errors: DataLoss for other bytes; those of
  // LocalResources.
  absl::Status TakeLog(const LocalTask& task, std::string_view log);

  // `state_file`: the round's global state; not null. Errors: those of the job document, of
  // LocalResources and of Tuner::Tune; InvalidArgument for a state that does not fit the job's
  // manifest; FailedPrecondition for a task that LacksLog. A second pass (IsSecondPass) trains
  // nothing and needs no state: its update is what Train made for the first. Errors then also:
  // FailedPrecondition, with a report, when that is not here any more.
  absl::StatusOr<LocalUpdate> Train(const LocalTask& task, const StateFile& state_file,
                                    const std::function<bool()>& cancelled);
  // What the task's masked vector could not carry, if it is with error feedback.
  void Propose(const LocalTask& task, const UpdateEncoder::MaskedExtras& made) {
    if (made.residual) encoder_.Propose(task.upload(), made.moves, *made.residual);
  }
  // What Train made of this task is with the coordinator.
  void Accepted(const LocalTask& task) { encoder_.Accepted(task.upload()); }
  // Held-out sums of the global state on this client's data; zeros when it holds nothing back.
  // Errors: as Train; Aborted when `cancelled`, which is polled between batches and may be empty.
  // A batch is never cut: its sums would have other bits. It takes less than a step of training,
  // after which Train polls.
  absl::StatusOr<EvaluationSums> Evaluate(const LocalTask& task, const StateFile& state_file,
                                          const std::function<bool()>& cancelled = {});

 private:
  struct Job;
  absl::StatusOr<std::shared_ptr<Job>> JobOf(const LocalTask& task);
  static absl::Status KeepSums(Job& job, const LocalTask& task, std::string_view log);
  absl::StatusOr<LocalUpdate> SecondPass(Job& job, const LocalTask& task);
  absl::StatusOr<std::shared_ptr<const ClientData>> DataOf(Job& job, const LocalTask& task);
  static absl::StatusOr<std::shared_ptr<const ParameterSet>> InitialOf(Job& job);
  static absl::StatusOr<ParameterSet> SnapshotOf(const Job& job, const ScalarForm& form,
                                                 const LocalTask& task, std::string_view snapshot,
                                                 uint64_t rest);
  static absl::StatusOr<ParameterSet> StateOf(Job& job, const LocalTask& task,
                                              const StateFile& state_file);

  LocalResources& resources_;
  TunerFactory factory_;
  const UpdateEncoder encoder_;
  const std::unique_ptr<ExampleLedger> examples_;
  std::mutex mutex_;  // of what follows; a Job has its own for its data
  std::string document_;
  std::string id_;            // of the last job of document_ whose base model was checked
  std::shared_ptr<Job> job_;  // of document_
};

}  // namespace rivulet
