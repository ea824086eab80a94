// The tuner as its callers see it, on the small llama of the golden files.
#include "peft/trainer/first_order_tuner.h"

#include <limits>

#include "common/formats/adapter_manifest.h"
#include "peft/trainer/text_generator.h"
#include "peft/trainer/tuner.h"
#include "tests/unit/peft/golden.h"
#include "tests/unit/peft/side_by_side.h"

namespace rivulet {
namespace {

class FirstOrder : public ::testing::Test {
 protected:
  void SetUp() override {
    job_.lora.lora_target_modules = {"all-linear"};
    job_.lora.lora_dropout = 0;
    job_.train.per_device_train_batch_size = 4;
    job_.train.learning_rate = 1e-2;
    const auto folder = testing::GoldenFolder() / "models/llama";
    auto base = LoadBaseModel(folder, job_);
    ASSERT_TRUE(base.ok()) << base.status();
    base_ = *base;
    auto plan = PlanAdapter(base_->config(), base_->match(), job_);
    ASSERT_TRUE(plan.ok()) << plan.status();
    state_ = *InitialState(*plan, 1);
    RandomCursor cursor(RandomStream(5, Purpose::kPartition, 0));
    for (int i = 0; i < 12; ++i) {
      Example example;
      for (int t = 0; t < 9 + i % 3; ++t) {
        example.ids.push_back(static_cast<int32_t>(cursor.Bounded(97)));
      }
      examples_.push_back(example);
    }
  }

  TuneRequest RequestOf(const std::string& client) const {
    TuneRequest request;
    request.global = &state_;
    request.examples = examples_;
    request.round = 3;
    request.client = client;
    return request;
  }
  TuneResult TuneWith(const JobSpec& job, const std::string& client = "a") const {
    auto result = (*MakeFirstOrderTuner(base_, job))->Tune(RequestOf(client));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? std::move(*result) : TuneResult{};
  }
  static double LargestDifference(const ParameterSet& a, const ParameterSet& b) {
    double largest = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      for (size_t j = 0; j < a.floats(i).size(); ++j) {
        largest = std::max<double>(largest, std::abs(a.floats(i)[j] - b.floats(i)[j]));
      }
    }
    return largest;
  }

  JobSpec job_;
  std::shared_ptr<const BaseModel> base_;
  ParameterSet state_;
  std::vector<Example> examples_;
};

TEST_F(FirstOrder, CountsWhatItDid) {
  const TuneResult result = TuneWith(job_);
  EXPECT_EQ(result.steps, 3);
  EXPECT_EQ(result.examples, 12);
  EXPECT_EQ(result.tokens, 4 * (8 + 9 + 10));  // nothing predicts the first token
  EXPECT_GT(result.grad_norm, 0);
  EXPECT_NEAR(result.loss, 4.9, 1.0);  // random weights: near log(97) = 4.57
}

// Steps of all the data at one small rate move by about the same each: rates 1/8, 2/8 .. 1 of a
// warm-up over eight steps add up to 36/8 of one, a constant rate to 8.
TEST_F(FirstOrder, MaxStepsIsTheTotalOfTheLearningRateSchedule) {
  job_.train.optimizer = "sgd";
  job_.train.max_grad_norm = 0;
  job_.train.learning_rate = 1e-3;
  job_.train.per_device_train_batch_size = 12;
  job_.train.max_steps = 8;
  const TuneResult constant = TuneWith(job_);
  EXPECT_EQ(constant.steps, 8);
  EXPECT_EQ(constant.examples, 8 * 12);
  job_.train.warmup_ratio = 1;
  const ParameterSet warmed = TuneWith(job_).delta;
  ParameterSet expected = constant.delta;
  double largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    for (float& value : expected.floats(i)) {
      largest = std::max<double>(largest, std::abs(value));
      value *= 36.0f / 64;
    }
  }
  EXPECT_LE(LargestDifference(warmed, expected), 1e-2 * largest);
}

TEST_F(FirstOrder, ClientsSideBySideGetTheBitsTheyGetAlone) {
  job_.lora.lora_dropout = 0.1;
  job_.train.local_epochs = 5;
  const auto tuner = MakeFirstOrderTuner(base_, job_);
  ASSERT_TRUE(tuner.ok());
  const std::vector<std::string> clients = {"a", "b", "c", "d"};
  std::vector<std::string> alone;
  std::vector<TuneRequest> requests;
  for (const std::string& client : clients) {
    alone.push_back(TuneWith(job_, client).delta.HashHex());
    requests.push_back(RequestOf(client));
  }
  EXPECT_EQ(testing::HashesSideBySide(**tuner, requests), alone);
  EXPECT_NE(alone[0], alone[1]);
}

TEST_F(FirstOrder, TheNumberOfThreadsOfAStepDoesNotChangeTheBits) {
  const std::string one = TuneWith(job_).delta.HashHex();
  job_.train.threads = 2;
  EXPECT_EQ(TuneWith(job_).delta.HashHex(), one);
}

TEST_F(FirstOrder, AccumulationEqualsOneLargerBatch) {
  job_.train.max_steps = 1;
  job_.train.per_device_train_batch_size = 12;
  const TuneResult whole = TuneWith(job_);
  job_.train.per_device_train_batch_size = 4;
  job_.train.gradient_accumulation_steps = 3;
  const TuneResult parts = TuneWith(job_);
  EXPECT_NEAR(parts.loss, whole.loss, 1e-6);
  EXPECT_NEAR(parts.grad_norm, whole.grad_norm, 1e-6 * whole.grad_norm);
}

TEST_F(FirstOrder, CheckpointingChangesNothing) {
  job_.lora.lora_dropout = 0.1;
  const TuneResult plain = TuneWith(job_);
  job_.model.gradient_checkpointing = true;
  const TuneResult checkpointed = TuneWith(job_);
  EXPECT_EQ(plain.loss, checkpointed.loss);
  EXPECT_EQ(plain.delta.HashHex(), checkpointed.delta.HashHex());
}

// One step of all examples: but for dropout, round and client decide the order of its rows alone.
TEST_F(FirstOrder, DropoutDependsOnRoundAndClient) {
  job_.train.max_steps = 1;
  job_.train.per_device_train_batch_size = 12;
  job_.train.optimizer = "sgd";
  job_.train.max_grad_norm = 0;
  const auto tuned = [this](uint64_t round, const std::string& client) {
    TuneRequest request = RequestOf(client);
    request.round = round;
    auto result = (*MakeFirstOrderTuner(base_, job_))->Tune(request);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? std::move(result->delta) : ParameterSet{};
  };
  const ParameterSet plain = tuned(3, "a");
  const double rounding =
      std::max(LargestDifference(tuned(3, "b"), plain), LargestDifference(tuned(4, "a"), plain));
  job_.lora.lora_dropout = 0.5;
  const ParameterSet dropped = tuned(3, "a");
  EXPECT_EQ(tuned(3, "a").HashHex(), dropped.HashHex());
  EXPECT_GT(LargestDifference(tuned(3, "b"), dropped), 1000 * rounding);
  EXPECT_GT(LargestDifference(tuned(4, "a"), dropped), 1000 * rounding);
}

// bf16 keeps 8 bits: activations differ by 2^-9, and so, about, does the loss.
TEST_F(FirstOrder, Bf16ArithmeticStaysNearFp32) {
  const TuneResult full = TuneWith(job_);
  job_.model.dtype = "bfloat16";
  const auto base = LoadBaseModel(testing::GoldenFolder() / "models/llama", job_);
  ASSERT_TRUE(base.ok()) << base.status();
  const auto narrow = (*MakeFirstOrderTuner(*base, job_))->Tune(RequestOf("a"));
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  EXPECT_NE(narrow->loss, full.loss);
  EXPECT_NEAR(narrow->loss, full.loss, 2e-2);
  EXPECT_NEAR(narrow->grad_norm, full.grad_norm, 5e-2 * full.grad_norm);
}

// With SGD the second step's gradient is taken at the same point with and without the proximal
// term, so the difference is exactly lr * mu * (w1 - w0).
TEST_F(FirstOrder, TheProximalTermPullsBackToTheReceivedState) {
  job_.train.optimizer = "sgd";
  job_.train.max_grad_norm = 0;
  job_.train.max_steps = 1;
  const ParameterSet first = TuneWith(job_).delta;
  job_.train.max_steps = 2;
  const ParameterSet free = TuneWith(job_).delta;
  job_.train.proximal_mu = 10;
  ParameterSet expected = free;
  for (size_t i = 0; i < free.size(); ++i) {
    for (size_t j = 0; j < free.floats(i).size(); ++j) {
      expected.floats(i)[j] -= 1e-2f * 10 * first.floats(i)[j];
    }
  }
  EXPECT_LE(LargestDifference(TuneWith(job_).delta, expected), 1e-7);
}

TEST_F(FirstOrder, EvaluationSumsAddUp) {
  const auto tuner = MakeFirstOrderTuner(base_, job_);
  const auto all = (*tuner)->Evaluate(state_, examples_);
  ASSERT_TRUE(all.ok()) << all.status();
  EvaluationSums sum;
  for (const Example& example : examples_) {
    const auto one = (*tuner)->Evaluate(state_, {&example, 1});
    ASSERT_TRUE(one.ok());
    sum.loss += one->loss;
    sum.counted += one->counted;
    sum.correct += one->correct;
  }
  EXPECT_EQ(all->counted, 4 * (8 + 9 + 10));
  EXPECT_EQ(sum.counted, all->counted);
  EXPECT_EQ(sum.correct, all->correct);
  EXPECT_NEAR(sum.loss, all->loss, 1e-5 * all->loss);
}

TEST_F(FirstOrder, PositionsWithoutTargetDoNotCount) {
  for (Example& example : examples_) {
    example.targets.assign(example.ids.size(), -100);
    example.targets.back() = example.ids.back();
  }
  const auto sums = (*MakeFirstOrderTuner(base_, job_))->Evaluate(state_, examples_);
  ASSERT_TRUE(sums.ok());
  EXPECT_EQ(sums->counted, 12);
  for (Example& example : examples_) example.targets.back() = -100;
  const auto none = (*MakeFirstOrderTuner(base_, job_))->Tune(RequestOf("a"));
  EXPECT_EQ(none.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FirstOrder, ACancelledClientStopsBetweenSteps) {
  int polled = 0;
  TuneRequest request = RequestOf("a");
  request.cancelled = [&] { return ++polled == 2; };
  const auto result = (*MakeFirstOrderTuner(base_, job_))->Tune(request);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(polled, 2);
}

TEST_F(FirstOrder, WhatDoesNotFitIsRefused) {
  const auto tuner = MakeFirstOrderTuner(base_, job_);
  TuneRequest request = RequestOf("a");
  request.examples = {};
  EXPECT_EQ((*tuner)->Tune(request).status().code(), absl::StatusCode::kInvalidArgument);
  const ParameterSet other(Manifest{{"x", DType::kF32, {1}}});
  request = RequestOf("a");
  request.global = &other;
  EXPECT_EQ((*tuner)->Tune(request).status().code(), absl::StatusCode::kInvalidArgument);
  examples_[0].ids[3] = 97;
  const auto bad_id = (*tuner)->Tune(RequestOf("a"));
  EXPECT_EQ(bad_id.status().message(), "token id: got 97, want 0..96");
}

TEST_F(FirstOrder, ANumberThatIsNotFiniteIsATypedError) {
  state_.floats(0)[0] = std::numeric_limits<float>::quiet_NaN();
  const auto result = (*MakeFirstOrderTuner(base_, job_))->Tune(RequestOf("a"));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(result.status().message(), "loss: got nan in step 1, want a finite number");
  const auto evaluated = (*MakeFirstOrderTuner(base_, job_))->Evaluate(state_, examples_);
  EXPECT_EQ(evaluated.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(evaluated.status().message(),
            "loss: got nan in evaluation, want a finite number of nats");
}

// PEFT's all-linear takes the pooler too, and `dense` names it.
TEST(FirstOrderBert, FactorsOnThePoolerAreTrained) {
  for (const char* target : {"all-linear", "dense"}) {
    JobSpec job;
    job.data.task = "classification";
    job.lora.lora_target_modules = {target};
    job.train.max_steps = 2;
    const auto base = LoadBaseModel(testing::GoldenFolder() / "models/bert", job);
    ASSERT_TRUE(base.ok()) << base.status();
    const auto plan = PlanAdapter((*base)->config(), (*base)->match(), job);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const ParameterSet state = *InitialState(*plan, 1, &(*base)->files());
    std::vector<Example> examples(3);
    for (int i = 0; i < 3; ++i) {
      examples[i].ids = {1, 5 + i, 9, 2 * i};
      examples[i].label = i;
    }
    TuneRequest request;
    request.global = &state;
    request.examples = examples;
    const auto result = (*MakeFirstOrderTuner(*base, job))->Tune(request);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto row = result->delta.IndexOf("base_model.model.bert.pooler.dense.lora_B.weight");
    ASSERT_GE(row, 0) << target;
    EXPECT_NE(result->delta.floats(row)[0], 0) << target;
  }
}

TEST_F(FirstOrder, TextIsTheSameForTheSameSeed) {
  const auto generator = TextGenerator::Make(base_, job_, state_);
  ASSERT_TRUE(generator.ok()) << generator.status();
  const std::vector<int32_t> prompt = {1, 5, 9};
  GenerateOptions options;
  options.max_new_tokens = 12;
  options.temperature = 1.5;
  options.top_k = 40;
  options.top_p = 0.95;
  const auto first = (*generator)->Generate(prompt, options);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->size(), 12u);
  EXPECT_EQ(*(*generator)->Generate(prompt, options), *first);
  options.seed = 1;
  EXPECT_NE(*(*generator)->Generate(prompt, options), *first);
  options.stop_ids = {first->front()};
  options.seed = 0;
  EXPECT_TRUE((*generator)->Generate(prompt, options)->empty());
  EXPECT_EQ((*generator)->Generate({}, options).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rivulet
