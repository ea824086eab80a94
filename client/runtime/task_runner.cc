#include "client/runtime/task_runner.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "aggregation/scalars/scalar_replay.h"
#include "aggregation/upload/plain_upload.h"
#include "client/agent/failure_report.h"
#include "client/runtime/example_guard.h"
#include "client/runtime/job_tuner.h"
#include "common/formats/model_config.h"
#include "common/formats/safetensors.h"
#include "common/formats/safetensors_writer.h"
#include "common/formats/soft_prompt.h"
#include "common/io/sha256.h"
#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "common/job/validate_private.h"
#include "peft/tokenizer/tokenizer.h"
#include "privacy/masking/first_pass.h"
#include "privacy/masking/masked_form.h"

namespace rivulet {

// What the tasks of one job share.
struct TaskRunner::Job {
  JobDocument document;
  std::filesystem::path base_model;
  std::unique_ptr<Tuner> tuner;
  std::unique_ptr<const Tokenizer> tokenizer;
  int max_positions = 0;

  std::mutex mutex;                                               // of what follows
  std::map<std::string, std::shared_ptr<const ClientData>> data;  // by client
  std::string data_of;                          // id of the job they were read for
  std::shared_ptr<const ParameterSet> initial;  // once it was asked for
  std::optional<uint64_t> position;             // with [scalars]: of `held` in what was logged
  StateFile held;
  std::string held_of;  // job and round of the task it came with
  uint64_t held_round = 0;
  // Where averages are made from the log: of the states up to the one at `average_at`.
  StateFile average;
  std::optional<uint64_t> average_at;
  struct Made {  // by CatchUp, until the task shows that it is what it should be
    std::string job;
    uint64_t position = 0;
    StateFile state, average;
  };
  std::optional<Made> made;
  // Of a pool whose draws go by them; or a first pass's mean.
  std::shared_ptr<const std::vector<float>> sums;
  std::string sums_of;  // SHA-256 of their log

  std::optional<ScalarForm> form() const {
    return ScalarForm::Of(document.spec, tuner->manifest());
  }
  // Whether the task is of an average that the log leads to; evaluations have no attempt.
  bool IsOfAverage(const LocalTask& task) const {
    return task.attempt == 0 && task.log && KeepsAverage(document.spec);
  }
  StateFile AverageOfHeld() const { return average_at == position ? average : nullptr; }
  // Whether the task's draws go by a log.
  bool DrawsByLog(const LocalTask& task) const {
    return document.spec.scalars.pool_choice == "amplitude" && task.log && task.log->bytes > 0;
  }
  bool IsSecond(const LocalTask& task) const { return IsSecondPass(document.spec, task.round); }
  bool NeedsLog(const LocalTask& task) const {
    return DrawsByLog(task) || (IsSecond(task) && task.log);
  }
  // Its sums, where they are here.
  std::shared_ptr<const std::vector<float>> SumsFor(const LocalTask& task) {
    const std::lock_guard lock(mutex);
    return task.log && task.log->sha256 == sums_of ? sums : nullptr;
  }
};

TaskRunner::TaskRunner(LocalResources& resources, TunerFactory factory, UpdateEncoder encoder,
                       std::unique_ptr<ExampleLedger> examples)
    : resources_(resources),
      factory_(std::move(factory)),
      encoder_(std::move(encoder)),
      examples_(examples != nullptr ? std::move(examples) : std::make_unique<ExampleLedger>()) {
  if (!factory_) factory_ = MakeJobTuner;
}

TaskRunner::~TaskRunner() = default;

absl::StatusOr<std::shared_ptr<TaskRunner::Job>> TaskRunner::JobOf(const LocalTask& task) {
  // Held while a job is set up, so that two tasks of one job load its base model once.
  const std::lock_guard lock(mutex_);
  const std::string& text = task.job_document;
  if (job_ != nullptr && document_ == text) {
    if (id_ == task.job_id) return job_;
    // The same document submitted again, perhaps weeks later.
    const JobDocument& document = job_->document;
    RV_RETURN_IF_ERROR(resources_.BaseModel(document.spec, document.base_hash).status());
    id_ = task.job_id;
    return job_;
  }
  job_.reset();  // first: two base models need not fit into memory
  auto job = std::make_shared<Job>();
  RV_ASSIGN_OR_RETURN(job->document, ParseJobDocument(text));
  const JobSpec& spec = job->document.spec;
  RV_ASSIGN_OR_RETURN(job->base_model, resources_.BaseModel(spec, job->document.base_hash));
  RV_ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(job->document.model_config));
  job->max_positions = static_cast<int>(LongestExample(config, spec));
  RV_ASSIGN_OR_RETURN(job->tuner, factory_(job->base_model, spec));
  RV_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Load(job->base_model));
  RV_RETURN_IF_ERROR(tokenizer.FitsEmbedding(config.vocab_size));
  job->tokenizer = std::make_unique<Tokenizer>(std::move(tokenizer));
  document_ = text;
  id_ = task.job_id;
  job_ = job;
  return job;
}

// Read again whenever the job id is another than the last task's: files may change between two jobs
// of one document.
absl::StatusOr<std::shared_ptr<const ClientData>> TaskRunner::DataOf(Job& job,
                                                                     const LocalTask& task) {
  {
    const std::lock_guard lock(job.mutex);
    if (job.data_of != task.job_id) job.data.clear();
    job.data_of = task.job_id;
    if (const auto it = job.data.find(task.client); it != job.data.end()) return it->second;
  }
  RV_ASSIGN_OR_RETURN(ClientData read, resources_.Data(task.client, job.document.spec,
                                                       *job.tokenizer, job.max_positions));
  auto data = std::make_shared<const ClientData>(std::move(read));
  const std::lock_guard lock(job.mutex);
  if (job.data_of != task.job_id) return data;  // another job's task came meanwhile
  return job.data.emplace(task.client, std::move(data)).first->second;
}

// Round 0, as the coordinator computed it.
absl::StatusOr<std::shared_ptr<const ParameterSet>> TaskRunner::InitialOf(Job& job) {
  const std::lock_guard lock(job.mutex);
  if (job.initial != nullptr) return job.initial;
  RV_ASSIGN_OR_RETURN(const JobModel model, JobModelOf(job.document));
  const Manifest& from_base = model.plan.from_base();
  RV_ASSIGN_OR_RETURN(const std::string file, BaseTensorsFile(job.base_model, job.document));
  ParameterSet values(from_base);
  if (!from_base.empty()) {
    RV_ASSIGN_OR_RETURN(values, ReadParameterSet(file, &from_base));
  }
  RV_ASSIGN_OR_RETURN(ParameterSet initial,
                      InitialState(model.plan, job.document.spec.job.seed, values));
  job.initial = std::make_shared<const ParameterSet>(std::move(initial));
  return job.initial;
}

bool TaskRunner::LacksLog(const LocalTask& task) {
  const absl::StatusOr<std::shared_ptr<Job>> job = JobOf(task);
  return job.ok() && (*job)->NeedsLog(task) && (*job)->SumsFor(task) == nullptr;
}

absl::Status TaskRunner::TakeLog(const LocalTask& task, std::string_view log) {
  RV_ASSIGN_OR_RETURN(const std::shared_ptr<Job> job, JobOf(task));
  if (job->NeedsLog(task)) return KeepSums(*job, task, log);
  return Refuse(absl::StatusCode::kDataLoss, "log: the task needs none");
}

absl::Status TaskRunner::KeepSums(Job& job, const LocalTask& task, std::string_view log) {
  if (const std::string got = Sha256Hex(log); got != task.log->sha256) {
    return Refuse(absl::StatusCode::kDataLoss,
                  "log: got bytes of hash " + got + ", want " + task.log->sha256);
  }
  std::vector<float> sums;
  if (job.IsSecond(task)) {
    sums.resize(log.size() / sizeof(float));
    std::memcpy(sums.data(), log.data(), sums.size() * sizeof(float));
  } else {
    RV_ASSIGN_OR_RETURN(sums, SumsOfPool(*job.form(), log));
  }
  const std::lock_guard lock(job.mutex);
  job.sums = std::make_shared<const std::vector<float>>(std::move(sums));
  job.sums_of = task.log->sha256;
  return absl::OkStatus();
}

std::optional<uint64_t> TaskRunner::MissingLog(const LocalTask& task) {
  const absl::StatusOr<std::shared_ptr<Job>> job = JobOf(task);
  if (!job.ok() || !task.log) return std::nullopt;
  const auto form = (*job)->form();
  if (!form) return std::nullopt;
  const std::lock_guard lock((*job)->mutex);
  std::optional<uint64_t> position =
      (*job)->held_of == task.job_id ? (*job)->position : std::nullopt;
  if ((*job)->IsOfAverage(task) && (*job)->AverageOfHeld() == nullptr) position.reset();
  const auto first = MissingFrom(*task.log, position, form->pooled(), task.state_bytes);
  if (first && DrawsOf(*form, task.log->bytes - *first) > kMostReplay) return std::nullopt;
  return first;
}

// An older state whose file is `snapshot`, from which `rest` bytes of log lead to that of the task.
absl::StatusOr<ParameterSet> TaskRunner::SnapshotOf(const Job& job, const ScalarForm& form,
                                                    const LocalTask& task,
                                                    std::string_view snapshot, uint64_t rest) {
  if (!task.log->snapshot || rest != task.log->tail()) {
    return Refuse(absl::StatusCode::kDataLoss, "log: the task has no snapshot " +
                                                   std::to_string(rest) + " bytes before its end");
  }
  if (const double draws = DrawsOf(form, rest); draws > kMostReplay) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "log: got " + std::to_string(rest) + " bytes since the last snapshot, " +
                      std::to_string(draws) + " numbers to draw, want at most " +
                      std::to_string(kMostReplay));
  }
  return ReadParameterSet(snapshot, &job.tuner->manifest());
}

absl::StatusOr<std::string> TaskRunner::CatchUp(const LocalTask& task, std::string_view rest,
                                                const std::function<bool()>& cancelled,
                                                std::string_view snapshot) {
  RV_ASSIGN_OR_RETURN(const std::shared_ptr<Job> job, JobOf(task));
  const JobSpec& spec = job->document.spec;
  const auto form = job->form();
  if (!form || !task.log || rest.size() > task.log->bytes) {
    return Refuse(absl::StatusCode::kDataLoss,
                  "log: the task has none of " + std::to_string(rest.size()) + " bytes");
  }
  StateFile held, held_average;
  if (snapshot.empty()) {
    const std::lock_guard lock(job->mutex);
    const uint64_t before = task.log->end() - rest.size();
    const bool follows = job->held_of == task.job_id && job->position == before;
    if (!form->pooled() && follows) {
      held = job->held;
      held_average = job->AverageOfHeld();
    }
    if (job->IsOfAverage(task) && held_average == nullptr) held.reset();
  }
  const Manifest* const manifest = &job->tuner->manifest();
  ParameterSet state;
  std::optional<MovingAverage> average;
  if (!snapshot.empty()) {
    RV_ASSIGN_OR_RETURN(state, SnapshotOf(*job, *form, task, snapshot, rest.size()));
  } else if (held != nullptr) {
    RV_ASSIGN_OR_RETURN(state, ReadParameterSet(*held, manifest));
    if (held_average != nullptr) {
      RV_ASSIGN_OR_RETURN(ParameterSet values, ReadParameterSet(*held_average, manifest));
      average = MovingAverage{spec.evaluate.ema, std::move(values)};
    }
  } else if (task.log->from == 0 && rest.size() == task.log->bytes) {
    RV_ASSIGN_OR_RETURN(const std::shared_ptr<const ParameterSet> initial, InitialOf(*job));
    state = *initial;
    if (KeepsAverage(spec)) average = MovingAverage{spec.evaluate.ema, state};
  } else {
    return Refuse(absl::StatusCode::kDataLoss, "log: no state to begin with");
  }
  RV_RETURN_IF_ERROR(
      Replay(*form, spec.strategy, rest, state, cancelled, average ? &*average : nullptr));
  if (job->DrawsByLog(task)) RV_RETURN_IF_ERROR(KeepSums(*job, task, rest));
  std::string file = SafetensorsBytes(state);
  if (!average) return file;
  std::string averaged = SafetensorsBytes(average->values);
  const bool of_average = job->IsOfAverage(task);
  const std::lock_guard lock(job->mutex);
  job->made = {task.job_id, task.log->end(), std::make_shared<const std::string>(std::move(file)),
               std::make_shared<const std::string>(std::move(averaged))};
  return of_average ? *job->made->average : *job->made->state;
}

// The task's global state, whose file stays for the log of the next one. The numbers are the
// caller's own: what a tuner leaves of them nobody reads.
absl::StatusOr<ParameterSet> TaskRunner::StateOf(Job& job, const LocalTask& task,
                                                 const StateFile& state_file) {
  RV_ASSIGN_OR_RETURN(ParameterSet state, ReadParameterSet(*state_file, &job.tuner->manifest()));
  if (!task.log) return state;
  const std::lock_guard lock(job.mutex);
  const bool over = job.held_of == task.job_id && task.round < job.held_round;
  if (over) return state;
  if (job.held_of != task.job_id) job.average_at.reset();
  const bool of_average = job.IsOfAverage(task);
  StateFile held = of_average ? nullptr : state_file;
  StateFile average = of_average ? state_file : nullptr;
  if (const auto made = std::exchange(job.made, std::nullopt);
      made && made->job == task.job_id && made->position == task.log->end()) {
    const StateFile& same = of_average ? made->average : made->state;
    if (*same == *state_file) held = made->state, average = made->average;
  }
  if (held != nullptr) {
    job.held_of = task.job_id;
    job.held = held;
    job.held_round = task.round;
    job.position = task.log->end();
  }
  if (average != nullptr && job.held_of == task.job_id) {
    job.average = average;
    job.average_at = task.log->end();
  }
  return state;
}

absl::StatusOr<LocalUpdate> TaskRunner::Train(const LocalTask& task, const StateFile& state_file,
                                              const std::function<bool()>& cancelled) {
  RV_ASSIGN_OR_RETURN(const std::shared_ptr<Job> job, JobOf(task));
  if (job->IsSecond(task)) return SecondPass(*job, task);
  RV_ASSIGN_OR_RETURN(ParameterSet global, StateOf(*job, task, state_file));
  RV_ASSIGN_OR_RETURN(const std::shared_ptr<const ClientData> data, DataOf(*job, task));
  TuneRequest request;
  request.global = &global;
  // Coefficients are encoded without the state, unless it says which of them.
  if (job->form() && !ChoosesByMovement(job->document.spec)) request.spent = &global;
  request.examples = data->train;
  request.round = task.round;
  request.client = task.client;
  request.cancelled = cancelled;
  request.project_gradient = task.project_gradient;
  request.session_root = task.session_root;
  request.choice = task.choice;
  std::shared_ptr<const std::vector<float>> sums;
  if (job->DrawsByLog(task)) {
    sums = job->SumsFor(task);
    if (sums == nullptr) {
      return Refuse(absl::StatusCode::kFailedPrecondition,
                    "log: that of the task is not here, want its sums to draw from the pool by");
    }
    request.pool_sums = *sums;
  }
  std::unique_ptr<GradientNoise> noise;
  if (job->document.spec.privacy.mechanism == "example") {
    const JobSpec& own = job->document.spec;
    RV_ASSIGN_OR_RETURN(request.privacy, ExamplePrivacyOf(own, data->train.size()));
    RV_ASSIGN_OR_RETURN(
        const Epsilon spent,
        examples_->Charge(task.client, own.data.dataset,
                          ReleaseOf(*request.privacy, task.job_id, task.round, task.attempt),
                          {own.privacy.target_epsilon, own.privacy.target_delta}));
    noise = NewSecretGradientNoise();
    request.noise = noise.get();
    spdlog::info("{}: epsilon {} for each example of data set '{}' after round {}", task.client,
                 FormatEpsilon(spent.pld), own.data.dataset, task.round);
  }
  RV_ASSIGN_OR_RETURN(const TuneResult result, job->tuner->Tune(request));
  LocalUpdate update;
  const GivenState given{global, task.state_sha256};
  RV_ASSIGN_OR_RETURN(update.file,
                      encoder_.Encode(job->document.spec, task.upload(), given, result.delta,
                                      [&job] { return InitialOf(*job); }));
  const JobSpec& spec = job->document.spec;
  if (spec.secure_aggregation.enabled) {
    RV_ASSIGN_OR_RETURN(const MaskedForm form, MaskedForm::Of(spec, result.delta.manifest()));
    RV_ASSIGN_OR_RETURN(update.masked, encoder_.ForMasking(task.upload(), given, form.feedback(),
                                                           form.chooses_by_movement(),
                                                           [&job] { return InitialOf(*job); }));
    if (form.two_passes()) update.masked.moves.clear();  // the second moves what this one leaves
  }
  if (spec.privacy.mechanism != "none") {  // what noise hides, no figure beside it may tell
    spdlog::debug("{}: loss {:.4f}, {} tokens, which are not reported", task.client, result.loss,
                  result.tokens);
    return update;
  }
  update.examples = result.examples;
  update.tokens = result.tokens;
  update.steps = result.steps;
  update.loss = result.loss;
  update.grad_norm = result.grad_norm;
  return update;
}

// What the first pass left is all of its update. Its own share of what that sum says of the mean is
// taken out: what remains is summed now, or kept for the next update.
absl::StatusOr<LocalUpdate> TaskRunner::SecondPass(Job& job, const LocalTask& task) {
  const Manifest& manifest = job.tuner->manifest();
  LocalUpdate update;
  update.masked.first_pass = job.SumsFor(task);
  if (update.masked.first_pass == nullptr) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "second pass: the mean of the first is not here");
  }
  absl::StatusOr<ParameterSet> kept = encoder_.Kept(task.upload(), manifest);
  if (!kept.ok()) return WithReport(kept.status(), "failed", std::string(kept.status().message()));
  RV_ASSIGN_OR_RETURN(const MaskedForm form, MaskedForm::Of(job.document.spec, manifest));
  RV_RETURN_IF_ERROR(TakeOutFirstPass(form, task.round, *update.masked.first_pass, *kept));
  update.file = SafetensorsBytes(ParameterSet(manifest));
  update.masked.residual = *std::move(kept);
  update.masked.moves = task.state_sha256;
  return update;
}

absl::StatusOr<EvaluationSums> TaskRunner::Evaluate(const LocalTask& task,
                                                    const StateFile& state_file,
                                                    const std::function<bool()>& cancelled) {
  RV_ASSIGN_OR_RETURN(const std::shared_ptr<Job> job, JobOf(task));
  RV_ASSIGN_OR_RETURN(const ParameterSet global, StateOf(*job, task, state_file));
  RV_ASSIGN_OR_RETURN(const std::shared_ptr<const ClientData> data, DataOf(*job, task));
  std::span<const Example> rest = data->held_out;
  const auto batch = static_cast<size_t>(job->document.spec.train.per_device_train_batch_size);
  EvaluationSums total;
  while (!rest.empty()) {  // the tuner's own batches, one a call: the sums are the same bit by bit
    if (cancelled && cancelled()) return absl::AbortedError("evaluation: cancelled");
    const std::span<const Example> now = rest.first(std::min(batch, rest.size()));
    RV_ASSIGN_OR_RETURN(const EvaluationSums sums, job->tuner->Evaluate(global, now));
    total.loss += sums.loss;
    total.counted += sums.counted;
    total.correct += sums.correct;
    rest = rest.subspan(now.size());
  }
  return total;
}

}  // namespace rivulet
