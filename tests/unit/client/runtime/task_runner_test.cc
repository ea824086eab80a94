#include "client/runtime/task_runner.h"

#include <gtest/gtest.h>

#include <cmath>

#include "aggregation/scalars/scalar_replay.h"
#include "client/agent/failure_report.h"
#include "common/formats/safetensors_writer.h"
#include "common/job/job_model.h"

namespace rivulet {
namespace {

const std::string kModel = std::string(RIVULET_SOURCE_DIR) + "/simulations/models/llama-7m";

const Manifest& SmallManifest() {
  static const Manifest manifest = {{"a", DType::kF32, {2}}};
  return manifest;
}

StateFile FileOf(std::string bytes) { return std::make_shared<const std::string>(bytes); }

// Counts those alive: each stands for a base model in memory. Leaves nothing of a state that may be
// spent.
class CountedTuner final : public Tuner {
 public:
  CountedTuner(int& alive, const Manifest& manifest) : alive_(alive), manifest_(manifest) {
    ++alive_;
  }
  ~CountedTuner() override { --alive_; }
  absl::StatusOr<TuneResult> Tune(const TuneRequest& request) override {
    drawn_by.assign(request.pool_sums.begin(), request.pool_sums.end());
    TuneResult result;
    result.delta = *request.global;
    spends = request.spent != nullptr;
    if (spends) request.spent->floats(0)[0] = NAN;
    if (!ends.ok()) return ends;
    result.examples = 3;
    result.tokens = 9;
    result.steps = 2;
    result.loss = 1.5;
    result.grad_norm = 0.5;
    return result;
  }
  absl::StatusOr<EvaluationSums> Evaluate(const ParameterSet&,
                                          std::span<const Example> examples) override {
    return EvaluationSums{0.5, static_cast<int64_t>(examples.size()), 1};  // one right a batch
  }
  const Manifest& manifest() const override { return manifest_; }

  static inline std::vector<float> drawn_by;  // the last request's pool_sums
  static inline bool spends;                  // the last request's state
  static inline absl::Status ends;            // what every request then ends with

 private:
  int& alive_;
  const Manifest manifest_;
};

class OneModel final : public LocalResources {
 public:
  absl::StatusOr<std::filesystem::path> BaseModel(const JobSpec&, const std::string&) override {
    RV_RETURN_IF_ERROR(model);
    return kModel;
  }
  absl::StatusOr<ClientData> Data(const std::string&, const JobSpec&, const Tokenizer&,
                                  int max_positions) override {
    ++reads;
    positions = max_positions;
    return data;
  }
  int reads = 0, positions = 0;
  ClientData data;
  absl::Status model;
};

// `stretched`: of a model that reads sequences of twice its max_position_embeddings.
std::string DocumentOf(uint64_t seed, bool stretched = false, JobSpec spec = {}) {
  spec.model.name = "llama-7m";
  spec.data.dataset = "notes";
  spec.data.seq_length = 64;
  spec.job.seed = seed;
  spec.train.per_device_train_batch_size = 2;
  auto document = DescribeJob(kModel, spec);
  EXPECT_TRUE(document.ok()) << document.status();
  if (stretched) {
    std::string& config = document->model_config;
    const std::string plain = "\"rope_type\": \"default\"";
    const size_t at = config.find(plain);
    EXPECT_NE(at, std::string::npos);
    config.replace(at, plain.size(), "\"rope_type\": \"dynamic\", \"factor\": 2.0");
  }
  return JobDocumentText(*document);
}

class TaskRunnerTest : public testing::Test {
 protected:
  void Train(const std::string& document, uint64_t round) {
    const std::string state = SafetensorsBytes(ParameterSet(SmallManifest()));
    const auto update = runner_.Train({"ann", document, round}, FileOf(state), {});
    ASSERT_TRUE(update.ok()) << update.status();
  }
  absl::StatusOr<EvaluationSums> Evaluate(const std::function<bool()>& cancelled) {
    const std::string state = SafetensorsBytes(ParameterSet(SmallManifest()));
    return runner_.Evaluate({"ann", DocumentOf(1), 1}, FileOf(state), cancelled);
  }
  int loads_ = 0, alive_ = 0;
  Manifest manifest_ = SmallManifest();
  OneModel resources_;
  TaskRunner runner_{resources_,
                     [this](const auto&, const auto&) -> absl::StatusOr<std::unique_ptr<Tuner>> {
                       ++loads_;
                       EXPECT_EQ(alive_, 0);  // the one before has left the memory
                       return std::make_unique<CountedTuner>(alive_, manifest_);
                     }};
};

TEST_F(TaskRunnerTest, AJobOfAHundredRoundsLoadsItsModelAndItsDataOnce) {
  const std::string document = DocumentOf(1);
  for (uint64_t round = 1; round <= 100; ++round) Train(document, round);
  EXPECT_EQ(loads_, 1);
  EXPECT_EQ(resources_.reads, 1);
}

TEST_F(TaskRunnerTest, AJobSubmittedAgainReadsItsDataAgainAndNotItsModel) {
  const StateFile state = FileOf(SafetensorsBytes(ParameterSet(SmallManifest())));
  for (const char* id : {"job-1", "job-2"}) {
    LocalTask task{"ann", DocumentOf(1), 1, id};
    for (task.round = 1; task.round <= 3; ++task.round) {
      ASSERT_TRUE(runner_.Train(task, state, {}).ok());
      ASSERT_TRUE(runner_.Evaluate(task, state).ok());
    }
  }
  EXPECT_EQ(resources_.reads, 2);
  EXPECT_EQ(loads_, 1);
}

TEST_F(TaskRunnerTest, ABaseModelThatChangedBeforeAJobWasSubmittedAgainIsReported) {
  const StateFile state = FileOf(SafetensorsBytes(ParameterSet(SmallManifest())));
  LocalTask task{"ann", DocumentOf(1), 1, "job-1"};
  ASSERT_TRUE(runner_.Train(task, state, {}).ok());
  resources_.model = absl::FailedPreconditionError("base model: got another one");
  task.round = 2;  // a running job has its model in memory
  ASSERT_TRUE(runner_.Train(task, state, {}).ok());
  task.job_id = "job-2";
  for (int attempt = 1; attempt <= 2; ++attempt) {
    EXPECT_EQ(runner_.Train(task, state, {}).status(), resources_.model);
  }
  resources_.model = absl::OkStatus();
  EXPECT_TRUE(runner_.Train(task, state, {}).ok());
}

TEST_F(TaskRunnerTest, UnderNoiseNoFigureLeavesBesideTheUpdate) {
  const std::string state = SafetensorsBytes(ParameterSet(SmallManifest()));
  JobSpec spec;
  spec.data.held_out_fraction = 0;
  spec.strategy.weighting = "uniform";
  const auto plain = runner_.Train({"ann", DocumentOf(1, false, spec), 1}, FileOf(state), {});
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->examples, 3);
  EXPECT_EQ(plain->tokens, 9);
  EXPECT_EQ(plain->steps, 2);
  EXPECT_EQ(plain->loss, 1.5);
  EXPECT_EQ(plain->grad_norm, 0.5);
  for (const char* mechanism : {"central", "example"}) {
    spec.privacy.mechanism = mechanism;
    spec.privacy.noise_multiplier = 5;
    spec.data.packing = false;
    spec.train.max_steps = 2;
    const auto noised = runner_.Train({"ann", DocumentOf(1, false, spec), 1}, FileOf(state), {});
    ASSERT_TRUE(noised.ok()) << noised.status();
    EXPECT_EQ(noised->examples, 0) << mechanism;
    EXPECT_EQ(noised->tokens, 0) << mechanism;
    EXPECT_EQ(noised->steps, 0) << mechanism;
    EXPECT_EQ(noised->loss, 0) << mechanism;
    EXPECT_EQ(noised->grad_norm, 0) << mechanism;
    EXPECT_FALSE(noised->file.empty());
  }
}

TEST_F(TaskRunnerTest, EvaluationAddsUpItsBatchesAndEndsBetweenTwo) {
  resources_.data.held_out.resize(5);
  const auto sums = Evaluate({});
  ASSERT_TRUE(sums.ok()) << sums.status();
  EXPECT_EQ(sums->counted, 5);
  EXPECT_EQ(sums->correct, 3);
  EXPECT_EQ(sums->loss, 1.5);
  int asked = 0;
  EXPECT_EQ(Evaluate([&asked] { return ++asked == 2; }).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(asked, 2);
}

TEST_F(TaskRunnerTest, DataMayBeAsLongAsTheModelReads) {
  Train(DocumentOf(1), 1);
  EXPECT_EQ(resources_.positions, 1024);
  Train(DocumentOf(1, true), 1);
  EXPECT_EQ(resources_.positions, 2048);
}

// Two records of one coefficient each, 12 bytes; the state of the first is the last that was worked
// with.
TEST_F(TaskRunnerTest, AStateIsMadeFromTheLastOneAndTheRestOfTheLog) {
  JobSpec spec;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.learning_rate = 0.5;
  spec.train.max_steps = 1;
  spec.scalars.enabled = true;
  LocalTask task{"ann", DocumentOf(1, false, spec), 1, "job-1", 1};
  task.log = StateLog{"hash", 12, 0};
  task.state_bytes = 1000;
  EXPECT_EQ(runner_.MissingLog(task), 0u);  // from the state of round 0
  const std::string state = SafetensorsBytes(ParameterSet(SmallManifest()));
  ASSERT_TRUE(runner_.Train(task, FileOf(state), {}).ok());
  EXPECT_EQ(runner_.MissingLog(task), 12u);
  EXPECT_EQ(*runner_.CatchUp(task, ""), state);

  spec.job.seed = 1;
  const ScalarForm form = *ScalarForm::Of(spec, SmallManifest());
  const std::string record = *Extended(form, "", {2}, std::vector<float>{3});
  LocalTask next = task;
  next.round = 2;
  next.log->bytes = 24;
  EXPECT_EQ(runner_.MissingLog(next), 12u);
  ParameterSet want(SmallManifest());
  ASSERT_TRUE(Replay(form, spec.strategy, record, want).ok());
  EXPECT_NE(want.floats(0)[0], 0);
  EXPECT_EQ(*runner_.CatchUp(next, record), SafetensorsBytes(want));

  EXPECT_EQ(runner_.CatchUp(next, record, [] { return true; }).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(runner_.CatchUp(next, record.substr(1)).status().code(), absl::StatusCode::kDataLoss);
  LocalTask other = next;
  other.job_id = "job-2";  // of the same document
  EXPECT_EQ(runner_.MissingLog(other), 0u);
  EXPECT_EQ(runner_.CatchUp(other, record).status().code(), absl::StatusCode::kDataLoss);
  next.log->snapshot = StateSnapshot{"older", state.size(), 12};  // of round 1
  other.log->snapshot = next.log->snapshot;
  EXPECT_EQ(*runner_.CatchUp(other, record, {}, state), SafetensorsBytes(want));
  EXPECT_EQ(runner_.CatchUp(other, "", {}, state).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(runner_.CatchUp(other, record, {}, state.substr(1)).ok());
  next.log->snapshot.reset();
  next.log->bytes = uint64_t{1} << 40;
  next.state_bytes = uint64_t{1} << 50;
  EXPECT_EQ(runner_.MissingLog(next), std::nullopt);  // hours of work
}

// A round that ended half way leaves its walk to nobody: the next state is made from what was
// received.
TEST_F(TaskRunnerTest, WhatATunerLeavesOfAStateIsNotReadAgain) {
  JobSpec spec;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.learning_rate = 0.5;
  spec.train.max_steps = 1;
  spec.scalars.enabled = true;
  LocalTask task{"ann", DocumentOf(1, false, spec), 1, "job-1", 1};
  task.log = StateLog{"hash", 12, 0};
  task.state_bytes = 1000;
  const std::string state = SafetensorsBytes(ParameterSet(SmallManifest()));
  for (const absl::Status& ends :
       {absl::AbortedError("cancelled"), absl::InternalError("loss: got nan"), absl::OkStatus()}) {
    CountedTuner::ends = ends;
    EXPECT_EQ(runner_.Train(task, FileOf(state), {}).status(), ends);
    EXPECT_TRUE(CountedTuner::spends);
    EXPECT_EQ(runner_.MissingLog(task), 12u);
    EXPECT_EQ(*runner_.CatchUp(task, ""), state) << ends;
  }
}

TEST_F(TaskRunnerTest, AStateIsSpentWhereOnlyCoefficientsGoUp) {
  const std::string state = SafetensorsBytes(ParameterSet(SmallManifest()));
  JobSpec spec;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.max_steps = 1;
  for (const bool scalars : {true, false}) {
    spec.scalars.enabled = scalars;
    ASSERT_TRUE(runner_.Train({"ann", DocumentOf(1, false, spec), 1}, FileOf(state), {}).ok());
    EXPECT_EQ(CountedTuner::spends, scalars);
  }
}

// The average is made beside the state, in trainings and in evaluations.
TEST_F(TaskRunnerTest, AnAverageIsMadeFromTheLogByWhoHasThatOfItsState) {
  JobSpec spec;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.learning_rate = 0.5;
  spec.train.max_steps = 1;
  spec.scalars.enabled = true;
  spec.evaluate.ema = 0.75;
  const std::string document = DocumentOf(1, false, spec);
  spec.job.seed = 1;
  const ScalarForm form = *ScalarForm::Of(spec, SmallManifest());
  ParameterSet state(SmallManifest());
  MovingAverage average{0.75, state};
  const std::string initial = SafetensorsBytes(state);
  std::string log;
  const auto task = [&](uint64_t round, uint32_t attempt) {
    return LocalTask{"ann", document, round, "job-1", attempt, "", StateLog{"hash", log.size(), 0},
                     1000};
  };
  const auto moved = [&](uint64_t round, float by) {  // gives the record
    const std::string record = *Extended(form, "", {round}, std::vector<float>{by});
    EXPECT_TRUE(Replay(form, spec.strategy, record, state, {}, &average).ok());
    log += record;
    return record;
  };
  ASSERT_TRUE(runner_.Train(task(1, 1), FileOf(initial), {}).ok());
  ASSERT_TRUE(
      runner_.Evaluate(task(1, 0), FileOf(initial)).ok());  // the same, before the first movement
  const std::string first = moved(1, 3);
  EXPECT_EQ(runner_.MissingLog(task(2, 1)), 0u);
  const std::string trained = *runner_.CatchUp(task(2, 1), first);
  EXPECT_TRUE(trained == SafetensorsBytes(state));
  ASSERT_TRUE(runner_.Train(task(2, 1), FileOf(trained), {}).ok());
  const std::string second = moved(2, -1);
  EXPECT_EQ(runner_.MissingLog(task(2, 0)), 12u);
  const std::string averaged = *runner_.CatchUp(task(2, 0), second);
  EXPECT_TRUE(averaged == SafetensorsBytes(average.values));
  EXPECT_FALSE(averaged == SafetensorsBytes(state));
  ASSERT_TRUE(runner_.Evaluate(task(2, 0), FileOf(averaged)).ok());
  // The state came along with it.
  EXPECT_EQ(runner_.MissingLog(task(3, 1)), 24u);
  EXPECT_TRUE(*runner_.CatchUp(task(3, 1), "") == SafetensorsBytes(state));
  // Who fetched a state lacks the average, until it has fetched that, too.
  moved(3, 2);
  ASSERT_TRUE(runner_.Train(task(4, 1), FileOf(SafetensorsBytes(state)), {}).ok());
  const std::string fourth = moved(4, 5);
  LocalTask evaluation = task(4, 0);
  evaluation.log->from = 12;  // what led from round 0 is dropped
  evaluation.log->bytes -= 12;
  EXPECT_EQ(runner_.MissingLog(evaluation), std::nullopt);
  EXPECT_EQ(runner_.CatchUp(evaluation, fourth).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(runner_.Evaluate(evaluation, FileOf(SafetensorsBytes(average.values))).ok());
  LocalTask training = task(5, 1);
  training.log = evaluation.log;
  EXPECT_EQ(runner_.MissingLog(training), 24u);
  EXPECT_TRUE(*runner_.CatchUp(training, fourth) == SafetensorsBytes(state));
  ASSERT_TRUE(runner_.Train(training, FileOf(SafetensorsBytes(state)), {}).ok());
  const std::string fifth = moved(5, 1);
  evaluation = task(5, 0);
  evaluation.log->from = 12;
  evaluation.log->bytes -= 12;
  EXPECT_EQ(runner_.MissingLog(evaluation), 36u);
  EXPECT_TRUE(*runner_.CatchUp(evaluation, fifth) == SafetensorsBytes(average.values));
  // What was fetched counts, not what was made wrongly before.
  ParameterSet other = average.values;
  other.floats(0)[0] += 1;
  ASSERT_TRUE(runner_.Evaluate(evaluation, FileOf(SafetensorsBytes(other))).ok());
  EXPECT_EQ(runner_.MissingLog(evaluation), std::nullopt);
}

TEST_F(TaskRunnerTest, APoolIsDrawnFromByTheSumsOfTheTasksLog) {
  JobSpec spec;
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.learning_rate = 0.5;
  spec.train.max_steps = 1;
  spec.scalars.enabled = true;
  spec.scalars.pool = 3;
  spec.scalars.pool_choice = "amplitude";
  LocalTask task{"ann", DocumentOf(1, false, spec), 1, "job-1", 1};
  task.log = StateLog{};
  task.state_bytes = 1000;
  spec.job.seed = 1;
  const std::string state = SafetensorsBytes(ParameterSet(SmallManifest()));
  EXPECT_FALSE(runner_.LacksLog(task));  // nothing was logged yet
  ASSERT_TRUE(runner_.Train(task, FileOf(state), {}).ok());
  EXPECT_TRUE(CountedTuner::drawn_by.empty());

  const ScalarForm form = *ScalarForm::Of(spec, SmallManifest());
  const std::vector<float> first = {3, -1, 0}, second = {4, -1, 0};
  std::string log = *Extended(form, "", {1}, first);
  task.round = 2;
  task.log = StateLog{Sha256Hex(log), log.size(), 0};
  ASSERT_TRUE(runner_.TakeLog(task, log).ok());
  EXPECT_FALSE(runner_.LacksLog(task));
  ASSERT_TRUE(runner_.Train(task, FileOf(state), {}).ok());
  EXPECT_EQ(CountedTuner::drawn_by, first);

  log = *Extended(form, log, {2}, std::vector<float>{1, 0, 0});
  task.round = 3;
  task.log = StateLog{Sha256Hex(log), log.size(), 0};
  EXPECT_TRUE(runner_.LacksLog(task));
  EXPECT_EQ(runner_.Train(task, FileOf(state), {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  std::string damaged = log;
  damaged.back() ^= 1;
  EXPECT_EQ(runner_.TakeLog(task, damaged).code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(runner_.LacksLog(task));
  ASSERT_TRUE(runner_.TakeLog(task, log).ok());
  EXPECT_FALSE(runner_.LacksLog(task));
  ASSERT_TRUE(runner_.Train(task, FileOf(state), {}).ok());
  EXPECT_EQ(CountedTuner::drawn_by, second);
}

// Codec power-sgd, whose toy tensor of two numbers cannot be a matrix: the kept update is looked
// for before the form of its vector is.
TEST_F(TaskRunnerTest, ASecondPassWithoutItsUpdateSaysSo) {
  JobSpec spec;
  spec.job.num_rounds = 2;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.compression.codec = "power-sgd";
  LocalTask task{"ann", DocumentOf(1, false, spec), 2, "job-1", 1};
  const std::string mean(8, '\0');
  task.log = StateLog{Sha256Hex(mean), mean.size(), 0};
  EXPECT_TRUE(runner_.LacksLog(task));
  EXPECT_EQ(runner_.Train(task, FileOf(""), {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(runner_.TakeLog(task, mean).ok());
  EXPECT_FALSE(runner_.LacksLog(task));
  const absl::Status status = runner_.Train(task, FileOf(""), {}).status();
  EXPECT_EQ(ReportOf(status).text, "second pass: the update of round 1 is not here any more");
}

// Of rank 1; the residual of the first pass stands for all of its update.
TEST_F(TaskRunnerTest, WhatASecondPassLeftCountsOnceTheStateHasMoved) {
  manifest_ = {{"a", DType::kF32, {8, 8}}};
  JobSpec spec;
  spec.job.num_rounds = 4;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.compression.codec = "power-sgd";
  spec.compression.rank = 1;
  const StateFile state = FileOf(SafetensorsBytes(ParameterSet(manifest_)));
  LocalTask task{"ann", DocumentOf(1, false, spec), 1, "job-1", 1, "first state"};
  absl::StatusOr<LocalUpdate> update = runner_.Train(task, state, {});
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_EQ(update->masked.moves, "");
  update->masked.residual->floats(0)[0] = 1;
  const std::string whole = update->masked.residual->HashHex();
  runner_.Propose(task, update->masked);
  runner_.Accepted(task);

  const std::vector<float> mean(8, 1);
  const std::string log(reinterpret_cast<const char*>(mean.data()), mean.size() * sizeof(float));
  task.round = 2;
  task.log = StateLog{Sha256Hex(log), log.size(), 0};
  ASSERT_TRUE(runner_.TakeLog(task, log).ok());
  update = runner_.Train(task, FileOf(""), {});
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_EQ(update->masked.moves, "first state");
  const std::string left = update->masked.residual->HashHex();
  EXPECT_NE(left, whole);
  runner_.Propose(task, update->masked);
  runner_.Accepted(task);

  task.round = 3;
  task.log.reset();
  const auto residual_given = [&](const std::string& sha256) {
    task.state_sha256 = sha256;
    const auto next = runner_.Train(task, state, {});
    EXPECT_TRUE(next.ok()) << next.status();
    return next.ok() ? next->masked.residual->HashHex() : "";
  };
  EXPECT_EQ(residual_given("second state"), left);
  EXPECT_EQ(residual_given("first state"), whole);
}

TEST_F(TaskRunnerTest, OneJobAfterAnotherLeavesOneInMemory) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Train(DocumentOf(seed), 1);
    EXPECT_EQ(alive_, 1);
  }
  EXPECT_EQ(loads_, 3);
}

}  // namespace
}  // namespace rivulet
