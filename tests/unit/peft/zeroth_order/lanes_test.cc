// Several losses of one batch in one pass, beside passes by themselves: small drawn models with
// dropout, padding and heads that start from the seed.
#include "peft/model/lanes.h"

#include <ATen/ATen.h>

#include <cmath>

#include "peft/method/method.h"
#include "peft/zeroth_order/model_points.h"
#include "peft/zeroth_order/zeroth_order_run.h"
#include "peft/zeroth_order/zeroth_order_tuner.h"
#include "tests/unit/peft/zeroth_order/dropping_model.h"

namespace rivulet {
namespace {

using testing::DroppingCase;

const DroppingCase kLaneCases[] = {
    {"lora_llama", false, [](JobSpec&) {}},
    {"lora_bert", true, [](JobSpec&) {}},
    {"frozen_a", false, [](JobSpec& job) { job.strategy.aggregation = "freeze-a"; }},
    {"bfloat16", false, [](JobSpec& job) { job.model.dtype = "bfloat16"; }},
    {"prompt_llama", false, [](JobSpec& job) { job.method = "prompt"; }},
    {"prompt_bert", true,
     [](JobSpec& job) {
       job.method = "prompt";
       job.prompt.prompt_tuning_init = "random";
     }},
    {"subspace", false,
     [](JobSpec& job) {
       job.method = "prompt";
       job.prompt.subspace = 20;
     }},
    {"bottleneck_llama", false, [](JobSpec& job) { job.method = "adapter"; }},
    {"bottleneck_bert", true, [](JobSpec& job) { job.method = "adapter"; }},
};

class Lanes : public testing::DroppingModel {
 protected:
  Lanes() { job_.lora.lora_r = 3; }
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(DroppingModel::SetUp());
    const auto plan = PlanAdapter(base_->config(), base_->match(), job_);
    auto method = MakeMethod(*plan, job_, &base_->files());
    ASSERT_TRUE(method.ok()) << method.status();
    method_ = std::move(*method);
  }

  Task task() const { return GetParam().bert ? Task::kClassification : Task::kCausalLm; }

  TuneResult TuneWith(const std::string& estimator, int batched) {
    JobSpec job = job_;
    job.train.estimator = estimator;
    job.train.batched_queries = batched;
    auto result = (*MakeZerothOrderTuner(base_, job))->Tune(RequestOf("a"));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? std::move(*result) : TuneResult{};
  }

  std::unique_ptr<Method> method_;
};

TEST_P(Lanes, HaveTheLossesOfPassesByThemselves) {
  const at::NoGradGuard no_grad;
  const auto network = MakeNetwork(base_);
  std::vector<const Example*> chosen;
  for (const Example& example : examples_) chosen.push_back(&example);
  const Batch batch = *MakeBatch(chosen, task(), base_->config());
  const Directions directions({DirectionKind::kGauss}, 3, method_->manifest());
  const EvaluationPoint points[] = {{0, 0}, {1, 0.1f}, {1, -0.1f}, {2, 0.1f}};
  const auto losses_of = [&](std::span<const EvaluationPoint> of, bool dropout, int threads) {
    const auto model = MakeCopiedPoints(*method_, directions, 4);
    kernels::Workspace workspace(threads);
    Pass pass = {&workspace, std::nullopt, false};
    if (dropout) pass.dropout = RandomStream(8, Purpose::kDropout, 0);
    pass.lanes = static_cast<int64_t>(of.size());
    const Adaptation adaptation = model->At(state_, of);
    if (pass.lanes > 1) return LaneLosses(*network, batch, task(), adaptation, pass);
    return std::vector{BatchLoss(*network, batch, task(), adaptation, pass).loss};
  };
  for (const bool dropout : {false, true}) {
    const std::vector<double> together = losses_of(points, dropout, 1);
    ASSERT_EQ(together.size(), 4u);
    for (size_t lane = 0; lane < 4; ++lane) {
      const double alone = losses_of({points + lane, 1}, dropout, 1)[0];
      EXPECT_NEAR(together[lane], alone, 1e-5 * alone) << "lane " << lane;
    }
    EXPECT_GT(std::abs(together[1] - together[2]), 1e-3 * together[0]);
    EXPECT_EQ(losses_of(points, dropout, 3), together);  // whatever the threads
  }
  EXPECT_NE(losses_of(points, true, 1)[0], losses_of(points, false, 1)[0]);
}

// Losses of some 2.5 nats agree to a few 1e-7, slopes over a width of 0.1 then to 1e-5.
TEST_P(Lanes, StepsAreThoseOfALossAPass) {
  job_.train.perturbation = 0.1;
  job_.train.queries = 5;
  for (const char* estimator : {"central", "one-sided", "fzoo"}) {
    const TuneResult alone = TuneWith(estimator, 0);
    const std::vector<float> want = FlatOf(alone.delta);
    double size = 0;
    for (float value : want) size = std::max<double>(size, std::abs(value));
    ASSERT_GT(size, 0);
    for (const int batched : {1, 2, 5}) {
      const TuneResult together = TuneWith(estimator, batched);
      EXPECT_NEAR(together.loss, alone.loss, 1e-5 * alone.loss) << estimator;
      EXPECT_NEAR(together.grad_norm, alone.grad_norm, 1e-3 * alone.grad_norm) << estimator;
      const std::vector<float> got = FlatOf(together.delta);
      double error = 0;
      for (size_t i = 0; i < want.size(); ++i) {
        error = std::max<double>(error, std::abs(got[i] - want[i]));
      }
      EXPECT_LE(error, 2e-3 * size) << estimator << ", " << batched;
    }
    const TuneResult pairs = TuneWith(estimator, 2);
    EXPECT_EQ(pairs.delta.Hash(), TuneWith(estimator, 2).delta.Hash());
  }
}

// Counts passes.
class CountedNetwork : public Network {
 public:
  explicit CountedNetwork(std::shared_ptr<const BaseModel> base)
      : Network(base), network_(MakeNetwork(base)) {}
  at::Tensor Hidden(const Batch& batch, const Adaptation& adaptation, Pass& pass) const override {
    ++passes_;
    return network_->Hidden(batch, adaptation, pass);
  }
  at::Tensor Continue(const at::Tensor& ids, KeyValueCache& cache, const Adaptation& adaptation,
                      Pass& pass) const override {
    return network_->Continue(ids, cache, adaptation, pass);
  }
  at::Tensor OutputMatrix(const Adaptation& adaptation) const override {
    return network_->OutputMatrix(adaptation);
  }
  at::Tensor Classify(const at::Tensor& hidden, const Batch& batch, const Adaptation& adaptation,
                      Pass& pass) const override {
    return network_->Classify(hidden, batch, adaptation, pass);
  }
  int passes() const { return passes_; }

 private:
  const std::unique_ptr<Network> network_;
  mutable int passes_ = 0;
};

// Five queries of a step over one batch.
TEST_P(Lanes, SharePasses) {
  job_.train.queries = 5;
  std::vector<const Example*> chosen;
  for (const Example& example : examples_) chosen.push_back(&example);
  const Batch batch = *MakeBatch(chosen, task(), base_->config());
  const auto passes_of = [&](const char* estimator, int batched) {
    job_.train.estimator = estimator;
    job_.train.batched_queries = batched;
    const CountedNetwork network(base_);
    RunSetting setting;
    setting.network = &network;
    setting.method = method_.get();
    setting.train = &job_.train;
    setting.task = task();
    kernels::Workspace workspace;
    ZerothOrderRun run(setting, state_, nullptr,
                       StepDirections(job_.train, 1, method_->manifest(), std::nullopt), workspace);
    EXPECT_TRUE(run.Step({&batch, 1}, 1e-3).ok());
    return network.passes();
  };
  EXPECT_EQ(passes_of("central", 0), 10);
  EXPECT_EQ(passes_of("central", 1), 5);
  EXPECT_EQ(passes_of("central", 2), 3);
  EXPECT_EQ(passes_of("central", 5), 1);
  EXPECT_EQ(passes_of("one-sided", 0), 6);
  EXPECT_EQ(passes_of("one-sided", 2), 2);  // three points each, where the step begins among them
}

INSTANTIATE_TEST_SUITE_P(All, Lanes, ::testing::ValuesIn(kLaneCases),
                         [](const auto& info) { return info.param.name; });

TEST(LanesOfAPass, HaveNoBackwardPassAndNoOtherTensors) {
  JobSpec job;
  const auto base = LoadBaseModel(testing::RandomModel(testing::SmallLlama()), job);
  ASSERT_TRUE(base.ok()) << base.status();
  const auto network = MakeNetwork(*base);
  const std::vector<Example> examples = testing::RandomExamples(1, 5, 5);
  const Example* const chosen[] = {&examples[0]};
  const Batch batch = *MakeBatch(chosen, Task::kCausalLm, (*base)->config());
  kernels::Workspace workspace;
  Pass pass = {&workspace, std::nullopt, false};
  pass.lanes = 2;
  Adaptation adaptation;
  EXPECT_THROW((void)LaneLosses(*network, batch, Task::kCausalLm, adaptation, pass), c10::Error);
  const at::NoGradGuard no_grad;
  EXPECT_EQ(LaneLosses(*network, batch, Task::kCausalLm, adaptation, pass).size(), 2u);
  adaptation.replaced["model.norm.weight"] = at::ones({2, 32});
  EXPECT_THROW((void)LaneLosses(*network, batch, Task::kCausalLm, adaptation, pass), c10::Error);
}

}  // namespace
}  // namespace rivulet
