// Training under example privacy on small models with drawn weights: gradients of single examples
// against autograd, sums against their parts, and the tuner as its callers see it.
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "common/formats/adapter_manifest.h"
#include "peft/kernels/optimizer.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/trainer/private_run.h"
#include "peft/trainer/tuner.h"
#include "tests/unit/peft/random_model.h"
#include "tests/unit/peft/trainer/told_noise.h"

namespace rivulet {
namespace {

constexpr int kSeqLength = 32;

struct PrivateCase {
  std::string name;
  nlohmann::json (*model)();
  bool heads;
  void (*shape)(JobSpec& job);
};
void PrintTo(const PrivateCase& which, std::ostream* out) { *out << which.name; }

// A job on a model of its own, with examples of different lengths.
class PrivateWork {
 public:
  explicit PrivateWork(const PrivateCase& which, int count = 7, uint32_t least = 2,
                       uint32_t most = kSeqLength) {
    const nlohmann::json config = which.model();
    task = config.contains("id2label") ? Task::kClassification : Task::kCausalLm;
    const bool classes = task == Task::kClassification;
    job.data.task = classes ? "classification" : "causal-lm";
    job.data.packing = false;
    job.data.seq_length = kSeqLength;
    if (classes) job.data.labels = {"no", "perhaps", "yes"};
    job.lora.lora_target_modules = {"all-linear"};
    job.lora.lora_r = 6;
    job.lora.lora_dropout = 0;
    job.train.per_device_train_batch_size = 4;
    job.train.optimizer = "sgd";
    job.train.max_grad_norm = 0;
    which.shape(job);
    auto loaded = LoadBaseModel(testing::RandomModel(config, which.heads), job);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    base = *loaded;
    network = MakeNetwork(base);
    const auto plan = PlanAdapter(base->config(), base->match(), job);
    EXPECT_TRUE(plan.ok()) << plan.status();
    method = *MakeMethod(*plan, job);
    state = testing::Moved(*InitialState(*plan, 1, &base->files()));
    examples = testing::RandomExamples(count, least, most);
  }

  double length() const { return task == Task::kClassification ? 1 : kSeqLength; }

  Batch BatchOf(const std::vector<uint32_t>& positions) const {
    std::vector<const Example*> chosen;
    for (uint32_t position : positions) chosen.push_back(&examples[position]);
    return *MakeBatch(chosen, task, base->config());
  }

  // Gradient of one example's loss over length(), by autograd and the fused forms alone.
  std::vector<float> AloneGradient(uint32_t position) {
    TrainableState leaves(state);
    Pass pass = {&workspace, std::nullopt, false};
    const LossSums sums = BatchLoss(*network, BatchOf({position}), task,
                                    method->Bind(leaves.leaves()), pass, length());
    torch::autograd::backward({sums.mean});
    return {leaves.gradient(), leaves.gradient() + leaves.size()};
  }

  std::unique_ptr<PrivateRun> Run(const ExamplePrivacy& privacy) {
    auto run = PrivateRun::Make(
        {network.get(), method.get(), task, &job.train, job.model.gradient_checkpointing, 1},
        privacy, length(), state, workspace);
    EXPECT_TRUE(run.ok()) << run.status();
    return std::move(*run);
  }
  // The clipped sum over some examples, in micro-batches of at most `size`.
  std::vector<int64_t> SumOver(const ExamplePrivacy& privacy,
                               const std::vector<uint32_t>& positions, size_t size) {
    const auto run = Run(privacy);
    for (size_t first = 0; first < positions.size(); first += size) {
      const size_t last = std::min(positions.size(), first + size);
      EXPECT_TRUE(
          run->Accumulate(BatchOf({positions.begin() + first, positions.begin() + last})).ok());
    }
    return {run->sum().sums().begin(), run->sum().sums().end()};
  }

  TuneRequest RequestOf(const ExamplePrivacy& privacy, GradientNoise& noise) const {
    TuneRequest request;
    request.global = &state;
    request.examples = examples;
    request.client = "a";
    request.privacy = privacy;
    request.noise = &noise;
    return request;
  }
  absl::StatusOr<TuneResult> Tune(const TuneRequest& request) const {
    RV_ASSIGN_OR_RETURN(const auto tuner, MakeFirstOrderTuner(base, job));
    return tuner->Tune(request);
  }

  JobSpec job;
  Task task = Task::kCausalLm;
  std::shared_ptr<const BaseModel> base;
  std::unique_ptr<Network> network;
  std::unique_ptr<Method> method;
  ParameterSet state;
  std::vector<Example> examples;
  kernels::Workspace workspace;
};

ExamplePrivacy Clip(double clip_norm) {
  ExamplePrivacy privacy;
  privacy.clip_norm = clip_norm;
  privacy.noise_multiplier = 0;
  return privacy;
}

double NormOf(std::span<const int64_t> sums) {
  double squares = 0;
  for (int64_t sum : sums) squares += static_cast<double>(sum) * static_cast<double>(sum);
  return std::sqrt(squares);
}

nlohmann::json LlamaOfThreeClasses() {
  nlohmann::json config = testing::SmallLlama();
  config["architectures"] = {"LlamaForSequenceClassification"};
  config["id2label"] = testing::SmallBert()["id2label"];
  return config;
}

const PrivateCase kPrivateCases[] = {
    {"lora", testing::SmallLlama, true, [](JobSpec&) {}},
    {"lora_of_high_rank", testing::SmallLlama, true, [](JobSpec& job) { job.lora.lora_r = 24; }},
    {"lora_checkpointing", testing::SmallLlama, true,
     [](JobSpec& job) { job.model.gradient_checkpointing = true; }},
    {"lora_frozen_a", testing::SmallLlama, true,
     [](JobSpec& job) { job.strategy.aggregation = "freeze-a"; }},
    {"lora_bf16", testing::SmallLlama, true, [](JobSpec& job) { job.model.dtype = "bfloat16"; }},
    {"seq_bn", testing::SmallLlama, true, [](JobSpec& job) { job.method = "adapter"; }},
    {"lora_with_score", LlamaOfThreeClasses, true, [](JobSpec&) {}},
    {"bert_with_head", testing::SmallBert, true, [](JobSpec&) {}},
    {"bert_with_new_head", testing::SmallBert, false,
     [](JobSpec& job) {
       job.lora.lora_target_modules = {"query", "value"};
     }},
    {"bert_seq_bn", testing::SmallBert, true, [](JobSpec& job) { job.method = "adapter"; }},
};

class PrivateMethods : public ::testing::TestWithParam<PrivateCase> {
 protected:
  PrivateWork work_{GetParam()};
};

// In a padded micro-batch of many lengths as alone. bf16 rounds left operands, alike in both.
TEST_P(PrivateMethods, GradientsOfExamplesEqualAutogradOfEachAlone) {
  TrainableState leaves(work_.state);
  ExampleGradients gradients(leaves.values(), leaves.size(), work_.workspace);
  const Batch batch = work_.BatchOf({0, 1, 2, 3, 4, 5, 6});
  gradients.Begin({batch.counts.data_ptr<int32_t>(), 7}, batch.length);
  Pass pass = {&work_.workspace, std::nullopt, work_.job.model.gradient_checkpointing, &gradients};
  const Adaptation adaptation = work_.method->Bind(leaves.leaves());
  const LossSums sums =
      BatchLoss(*work_.network, batch, work_.task, adaptation, pass, work_.length());
  torch::autograd::backward({sums.mean});
  EXPECT_EQ(kernels::SumOfSquares(leaves.gradient(), leaves.size()), 0);
  for (uint32_t i = 0; i < 7; ++i) {
    const std::vector<float> alone = work_.AloneGradient(i);
    const std::span<const float> got = gradients.Of(i);
    double difference = 0;
    for (size_t j = 0; j < alone.size(); ++j) {
      difference += std::pow(static_cast<double>(got[j]) - alone[j], 2);
    }
    const double norm = std::sqrt(kernels::SumOfSquares(alone.data(), alone.size()));
    ASSERT_GT(norm, 0);
    EXPECT_NEAR(std::sqrt(kernels::SumOfSquares(got.data(), got.size())), norm, 1e-5 * norm);
    EXPECT_LE(std::sqrt(difference), 1e-5 * norm) << i;
  }
}

// Integers: a sum over a subset is exactly the sum of its parts, however it is cut into
// micro-batches. So one example more or less changes it by that example's part, at most C.
TEST_P(PrivateMethods, SumsAreTheSumsOfTheirExamplesToTheLastBit) {
  for (double multiplier : {0.0, 1.0}) {
    ExamplePrivacy privacy = Clip(0.05);
    privacy.noise_multiplier = multiplier;
    const double bound = GridOf(privacy).bound;
    std::vector<std::vector<int64_t>> parts;
    int clipped = 0;
    for (uint32_t i = 0; i < 7; ++i) {
      parts.push_back(work_.SumOver(privacy, {i}, 1));
      EXPECT_LE(NormOf(parts[i]), bound);
      clipped += NormOf(parts[i]) > 0.999 * bound;
    }
    EXPECT_GT(clipped, 0);
    for (uint32_t subset = 0; subset < 128; subset += 9) {
      std::vector<uint32_t> positions;
      std::vector<int64_t> expected(parts[0].size());
      for (uint32_t i = 0; i < 7; ++i) {
        if ((subset >> i & 1) == 0) continue;
        positions.push_back(i);
        for (size_t j = 0; j < expected.size(); ++j) expected[j] += parts[i][j];
      }
      const std::vector<int64_t> sum = work_.SumOver(privacy, positions, 1 + subset % 5);
      EXPECT_EQ(sum, expected) << subset;
      EXPECT_LE(NormOf(sum), bound * static_cast<double>(positions.size()));
    }
  }
}

// The same where an example takes more than one block of queries.
TEST(PrivateSums, OfLongExamplesAreTheSumsOfTheirExamples) {
  PrivateWork work(kPrivateCases[0], 5, 50, 125);
  const ExamplePrivacy privacy = Clip(0.5);
  std::vector<int64_t> expected = work.SumOver(privacy, {0}, 1);
  for (uint32_t i = 1; i < 5; ++i) {
    const std::vector<int64_t> part = work.SumOver(privacy, {i}, 1);
    for (size_t j = 0; j < part.size(); ++j) expected[j] += part[j];
  }
  EXPECT_EQ(work.SumOver(privacy, {4, 1, 3, 0, 2}, 5), expected);
  EXPECT_EQ(work.SumOver(privacy, {0, 1, 2, 3, 4}, 2), expected);
}

// SGD over everything at once with a clip norm above every gradient: the mean over all targets,
// when the divisor is their number in fixed lengths.
TEST_P(PrivateMethods, WithoutClippingAndNoiseItIsOrdinaryTraining) {
  work_.job.train.learning_rate = 0.05;
  work_.job.train.momentum = 0.5;
  work_.job.train.max_steps = 3;
  work_.job.train.proximal_mu = 0.5;
  testing::ToldNoise noise;
  ExamplePrivacy privacy = Clip(64);
  privacy.steps = 3;
  privacy.batch_size =
      static_cast<double>(work_.BatchOf({0, 1, 2, 3, 4, 5, 6}).targets.size(0)) / work_.length();
  TuneRequest request = work_.RequestOf(privacy, noise);
  const auto priv = work_.Tune(request);
  ASSERT_TRUE(priv.ok()) << priv.status();
  work_.job.train.per_device_train_batch_size = 7;
  request.privacy.reset();
  const auto plain = work_.Tune(request);
  ASSERT_TRUE(plain.ok()) << plain.status();
  double difference = 0, norm = 0;
  for (size_t i = 0; i < plain->delta.size(); ++i) {
    for (size_t j = 0; j < plain->delta.floats(i).size(); ++j) {
      difference += std::pow(priv->delta.floats(i)[j] - plain->delta.floats(i)[j], 2.0);
      norm += std::pow(plain->delta.floats(i)[j], 2.0);
    }
  }
  EXPECT_GT(norm, 0);
  EXPECT_LE(std::sqrt(difference), 2e-5 * std::sqrt(norm));
  EXPECT_NEAR(priv->grad_norm, plain->grad_norm, 2e-5 * plain->grad_norm);
}

INSTANTIATE_TEST_SUITE_P(All, PrivateMethods, ::testing::ValuesIn(kPrivateCases),
                         [](const auto& info) { return info.param.name; });

class PrivateTuning : public ::testing::Test {
 protected:
  TuneResult TuneWith(const ExamplePrivacy& privacy) {
    auto result = work_.Tune(work_.RequestOf(privacy, noise_));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? std::move(*result) : TuneResult{};
  }
  std::string HashWith(const ExamplePrivacy& privacy) {
    noise_ = testing::ToldNoise();
    return TuneWith(privacy).delta.HashHex();
  }
  absl::Status Refused(const ExamplePrivacy& privacy) {
    return work_.Tune(work_.RequestOf(privacy, noise_)).status();
  }

  PrivateWork work_{kPrivateCases[0], 12, 4};
  testing::ToldNoise noise_;
};

// 12 examples at a rate of 2^-40: all three steps are empty, and each gets its noise.
TEST_F(PrivateTuning, AnEmptyBatchIsAStepWithNoise) {
  work_.job.train.learning_rate = 0.25;
  ExamplePrivacy privacy;
  privacy.sample_rate = 0x1p-40;
  privacy.batch_size = 2;
  privacy.steps = 3;
  noise_.shift = 1 << 16;
  const TuneResult result = TuneWith(privacy);
  const GradientGrid grid = GridOf(privacy);
  EXPECT_EQ(result.steps, 3);
  EXPECT_EQ(noise_.variances, std::vector<uint64_t>(3, grid.variance));
  const double each = -0.25 * 3 * (1 << 16) * grid.step / 2;
  for (size_t i = 0; i < result.delta.size(); ++i) {
    for (float value : result.delta.floats(i)) ASSERT_NEAR(value, each, 1e-5 * std::abs(each));
  }
}

TEST_F(PrivateTuning, NoiseComesOnceAStepHoweverManyMicroBatches) {
  ExamplePrivacy privacy;
  privacy.steps = 2;
  work_.job.train.per_device_train_batch_size = 1;
  TuneWith(privacy);
  EXPECT_EQ(noise_.variances.size(), 2u);
}

TEST_F(PrivateTuning, MicroBatchesAndThreadsChangeNoBit) {
  ExamplePrivacy privacy;
  privacy.clip_norm = 0.1;
  privacy.sample_rate = 0.5;
  privacy.steps = 3;
  work_.job.train.optimizer = "adamw";
  const std::string expected = HashWith(privacy);
  for (int size : {1, 3, 12}) {
    work_.job.train.per_device_train_batch_size = size;
    EXPECT_EQ(HashWith(privacy), expected) << size;
  }
  work_.job.train.threads = 2;
  EXPECT_EQ(HashWith(privacy), expected);
}

// The masks come from the caller's secret words, and one example's mask is not another's.
TEST_F(PrivateTuning, DropoutComesFromTheNoiseAndDiffersBetweenExamples) {
  ExamplePrivacy privacy = Clip(8);
  const std::string without = HashWith(privacy);
  work_.job.lora.lora_dropout = 0.5;
  const std::string with = HashWith(privacy);
  EXPECT_NE(with, without);
  EXPECT_EQ(HashWith(privacy), with);
  noise_ = testing::ToldNoise(2);
  EXPECT_NE(TuneWith(privacy).delta.HashHex(), with);
  // Two equal examples in one micro-batch have different gradients: their sum is not twice one.
  work_.examples[1] = work_.examples[0];
  work_.method =
      *MakeMethod(*PlanAdapter(work_.base->config(), work_.base->match(), work_.job), work_.job);
  const std::vector<int64_t> one = work_.SumOver(privacy, {0}, 1);
  std::vector<int64_t> two = work_.SumOver(privacy, {0, 1}, 2);
  EXPECT_NE(two, one);
  for (size_t i = 0; i < two.size(); ++i) two[i] -= 2 * one[i];
  EXPECT_GT(NormOf(two), 0.1 * NormOf(one));
  EXPECT_LE(NormOf(one), GridOf(privacy).bound);
}

// What the server learns beside the noised update is known before: counts, and no loss.
TEST_F(PrivateTuning, TheResultTellsOnlyWhatIsExpected) {
  ExamplePrivacy privacy;
  privacy.sample_rate = 0.25;
  privacy.steps = 4;
  for (uint64_t seed : {1, 2, 3}) {
    noise_ = testing::ToldNoise(seed);
    const TuneResult result = TuneWith(privacy);
    EXPECT_EQ(result.examples, 12);  // 4 steps of 12 / 4
    EXPECT_EQ(result.tokens, 12 * kSeqLength);
    EXPECT_EQ(result.loss, 0);
  }
}

// Half of the examples gone halves nothing but their own gradients.
TEST_F(PrivateTuning, TheDivisorIsFixed) {
  ExamplePrivacy privacy = Clip(8);
  privacy.batch_size = 12;
  work_.job.train.learning_rate = 1;
  const ParameterSet all = TuneWith(privacy).delta;
  const std::vector<Example> examples = work_.examples;
  std::vector<ParameterSet> halves;
  for (int first : {0, 6}) {
    work_.examples.assign(examples.begin() + first, examples.begin() + first + 6);
    halves.push_back(TuneWith(privacy).delta);
  }
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t j = 0; j < all.floats(i).size(); ++j) {
      ASSERT_NEAR(halves[0].floats(i)[j] + halves[1].floats(i)[j], all.floats(i)[j], 1e-6);
    }
  }
}

TEST_F(PrivateTuning, PackedRecordsAreRefused) {
  work_.job.data.packing = true;
  const absl::Status status = Refused({});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::string(status.message()).starts_with("data.packing: got true")) << status;
}

TEST_F(PrivateTuning, AMatrixTrainedWholeIsRefused) {
  work_.job.lora.modules_to_save = {"lm_head"};
  const auto plan = PlanAdapter(work_.base->config(), work_.base->match(), work_.job);
  ASSERT_TRUE(plan.ok()) << plan.status();
  work_.state = *InitialState(*plan, 1, &work_.base->files());
  const absl::Status status = Refused({});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::string(status.message()).starts_with("lm_head.weight")) << status;
}

TEST_F(PrivateTuning, WithoutNoiseOrWithBadSettingsItIsRefused) {
  TuneRequest request = work_.RequestOf({}, noise_);
  request.noise = nullptr;
  EXPECT_EQ(work_.Tune(request).status().code(), absl::StatusCode::kInvalidArgument);
  ExamplePrivacy privacy;
  privacy.clip_norm = 0;
  EXPECT_EQ(Refused(privacy).code(), absl::StatusCode::kInvalidArgument);
  noise_.fails = true;
  EXPECT_EQ(Refused({}).code(), absl::StatusCode::kUnavailable);
}

TEST_F(PrivateTuning, ANumberThatIsNotFiniteIsRefused) {
  work_.state.floats(0)[0] = std::numeric_limits<float>::quiet_NaN();
  const absl::Status status = Refused({});
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(), "loss: got nan in step 1, want a finite number");
}

TEST_F(PrivateTuning, ACancelledClientStops) {
  TuneRequest request = work_.RequestOf({}, noise_);
  int polled = 0;
  request.cancelled = [&] { return ++polled == 2; };
  EXPECT_EQ(work_.Tune(request).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(noise_.variances.empty());
}

}  // namespace
}  // namespace rivulet
