// What every method promises. A new row of the table joins by itself.
#include <torch/csrc/autograd/autograd.h>

#include "common/formats/safetensors_writer.h"
#include "peft/method/method.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/trainer/trainable_state.h"
#include "peft/trainer/tuner.h"
#include "tests/unit/peft/golden.h"

namespace rivulet {
namespace {

struct Case {
  std::string name;
  std::string model;
  void (*shape)(JobSpec& job);
};
void PrintTo(const Case& which, std::ostream* out) { *out << which.name; }

const Case kCases[] = {
    {"lora", "llama", [](JobSpec& job) { job.lora.lora_target_modules = {"all-linear"}; }},
    {"rslora", "llama", [](JobSpec& job) { job.lora.use_rslora = true; }},
    {"lora_frozen_a", "llama", [](JobSpec& job) { job.strategy.aggregation = "freeze-a"; }},
    {"lora_with_head", "bert", [](JobSpec&) {}},
    {"prompt", "llama", [](JobSpec& job) { job.method = "prompt"; }},
    {"random_prompt_with_head", "bert",
     [](JobSpec& job) {
       job.method = "prompt";
       job.prompt.prompt_tuning_init = "random";
     }},
    {"prompt_of_a_subspace", "llama",
     [](JobSpec& job) {
       job.method = "prompt";
       job.prompt.subspace = 20;
     }},
    {"seq_bn", "llama",
     [](JobSpec& job) {
       job.method = "adapter";
       job.adapter.non_linearity = "swish";  // a kink would spoil finite differences
     }},
    {"seq_bn_with_head", "bert",
     [](JobSpec& job) {
       job.method = "adapter";
       job.adapter.non_linearity = "gelu";
     }},
    {"full", "llama", [](JobSpec& job) { job.method = "full"; }},
    {"full_tied", "llama_tied", [](JobSpec& job) { job.method = "full"; }},
    {"full_with_head", "bert", [](JobSpec& job) { job.method = "full"; }},
    {"full_last_layer", "llama",
     [](JobSpec& job) {
       job.method = "full";
       job.full.modules = {"layers.1", "lm_head"};
     }},
    {"full_beside_frozen", "llama",
     [](JobSpec& job) {
       job.method = "full";
       job.full.modules = {"v_proj", "gate_proj", "norm"};
     }},
};

class MethodContract : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    job_.data.task = GetParam().model == "bert" ? "classification" : "causal-lm";
    task_ = GetParam().model == "bert" ? Task::kClassification : Task::kCausalLm;
    job_.lora.lora_dropout = 0;
    job_.train.max_steps = 2;
    job_.train.per_device_train_batch_size = 2;
    GetParam().shape(job_);
    const auto folder = testing::GoldenFolder() / "models" / GetParam().model;
    auto base = LoadBaseModel(folder, job_);
    ASSERT_TRUE(base.ok()) << base.status();
    base_ = *base;
    network_ = MakeNetwork(base_);
    auto plan = PlanAdapter(base_->config(), base_->match(), job_);
    ASSERT_TRUE(plan.ok()) << plan.status();
    auto method = MakeMethod(*plan, job_, &base_->files());
    ASSERT_TRUE(method.ok()) << method.status();
    method_ = std::move(*method);
    auto state = InitialState(*plan, job_.job.seed, &base_->files());
    ASSERT_TRUE(state.ok()) << state.status();
    state_ = std::move(*state);
  }

  std::vector<Example> Examples() const {
    RandomCursor cursor(RandomStream(5, Purpose::kPartition, 0));
    std::vector<Example> examples(4);
    for (Example& example : examples) {
      for (int t = 0; t < 11; ++t) example.ids.push_back(static_cast<int32_t>(cursor.Bounded(97)));
      example.label = static_cast<int32_t>(cursor.Bounded(3));
    }
    return examples;
  }
  Batch Data() const { return testing::BatchOf(Examples(), task_, base_->config()); }

  // The state with every number moved away from zero.
  ParameterSet Moved() const {
    ParameterSet moved = state_;
    const RandomStream stream(9, Purpose::kBaseTensor, 1);
    for (size_t i = 0; i < moved.size(); ++i) {
      std::vector<float> noise(moved.floats(i).size());
      stream.FillGauss(static_cast<uint32_t>(i), noise);
      for (size_t j = 0; j < noise.size(); ++j) moved.floats(i)[j] += 0.05f * noise[j];
    }
    return moved;
  }

  double LossOf(const ParameterSet& state) {
    const at::NoGradGuard no_grad;
    const TrainableState leaves(state);
    return BatchLoss(*network_, Data(), task_, method_->Bind(leaves.leaves()), pass_).loss /
           static_cast<double>(Data().targets.size(0));
  }

  JobSpec job_;
  Task task_ = Task::kCausalLm;
  std::shared_ptr<const BaseModel> base_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<Method> method_;
  ParameterSet state_;
  kernels::Workspace workspace_;
  Pass pass_{&workspace_, std::nullopt, false};
};

// But for a prompt, which is never absent.
TEST_P(MethodContract, TheInitialStateIsTheIdentity) {
  if (method_->name() == "prompt") GTEST_SKIP() << "a prompt of any value is a prompt";
  const at::NoGradGuard no_grad;
  const TrainableState leaves(state_);
  const at::Tensor with =
      testing::LogitsOf(*network_, Data(), task_, method_->Bind(leaves.leaves()), pass_);
  const at::Tensor without = testing::LogitsOf(*network_, Data(), task_, {}, pass_);
  EXPECT_EQ(testing::LargestDifference(with, without), 0.0);
}

// Along the gradient of each tensor the loss rises by its norm. Differences of fourth order: 1e-3
// of the norm of the whole gradient covers fp32 rounding of the loss (1.5e-6 / 1e-2) and curvature
// at steps of 1e-2 and 2e-2.
TEST_P(MethodContract, GradientsEqualCentralDifferences) {
  const ParameterSet moved = Moved();
  TrainableState leaves(moved);
  const LossSums sums = BatchLoss(*network_, Data(), task_, method_->Bind(leaves.leaves()), pass_);
  torch::autograd::backward({sums.mean});
  double whole = 0;
  for (int64_t i = 0; i < leaves.size(); ++i) whole += std::pow(leaves.gradient()[i], 2.0);
  whole = std::sqrt(whole);
  for (size_t i = 0; i < moved.size(); ++i) {
    const at::Tensor gradient = leaves.leaves()[i].grad().contiguous();
    const double norm = gradient.norm().item<double>();
    ASSERT_GT(norm, 0) << moved.manifest()[i].name;
    const auto rise_over = [&](double step) {
      ParameterSet up = moved, down = moved;
      for (int64_t j = 0; j < gradient.numel(); ++j) {
        const float by = static_cast<float>(step / norm * gradient.data_ptr<float>()[j]);
        up.floats(i)[j] += by;
        down.floats(i)[j] -= by;
      }
      return (LossOf(up) - LossOf(down)) / (2 * step);
    };
    EXPECT_NEAR((4 * rise_over(1e-2) - rise_over(2e-2)) / 3, norm, 1e-3 * whole + 1e-4)
        << moved.manifest()[i].name;
  }
}

// A layer computed twice gives the same numbers twice, also one that nothing is trained in.
TEST_P(MethodContract, GradientsDoNotDependOnWhatIsKeptOfTheForwardPass) {
  const ParameterSet moved = Moved();
  std::vector<std::vector<float>> gradients;
  for (const bool checkpointing : {false, true}) {
    pass_.checkpointing = checkpointing;
    TrainableState leaves(moved);
    const Adaptation adaptation = method_->Bind(leaves.leaves());
    torch::autograd::backward({BatchLoss(*network_, Data(), task_, adaptation, pass_).mean});
    gradients.emplace_back(leaves.gradient(), leaves.gradient() + leaves.size());
  }
  EXPECT_EQ(gradients[0], gradients[1]);
}

TEST_P(MethodContract, LoadingAndSavingKeepsEveryByte) {
  const ParameterSet moved = Moved();
  EXPECT_EQ(moved.manifest(), method_->manifest());
  const std::string bytes = SafetensorsBytes(moved);
  const auto again = ReadParameterSet(bytes, &method_->manifest());
  ASSERT_TRUE(again.ok()) << again.status();
  const TrainableState leaves(*again);
  ParameterSet zero(moved.manifest());
  const ParameterSet back = leaves.DeltaFrom(zero);
  EXPECT_EQ(back.Hash(), moved.Hash());
  EXPECT_EQ(SafetensorsBytes(back), bytes);
}

TEST_P(MethodContract, ALearningRateOfZeroChangesNothing) {
  job_.train.learning_rate = 0;
  const auto tuner = MakeFirstOrderTuner(base_, job_);
  ASSERT_TRUE(tuner.ok()) << tuner.status();
  const ParameterSet moved = Moved();
  const std::vector<Example> examples = Examples();
  TuneRequest request;
  request.global = &moved;
  request.examples = examples;
  const auto result = (*tuner)->Tune(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->steps, 2);
  EXPECT_EQ(result->delta.Hash(), ParameterSet(moved.manifest()).Hash());
}

TEST_P(MethodContract, AStepMovesEveryTensorAndLowersTheLoss) {
  job_.train.learning_rate = 1e-3;
  job_.train.max_steps = 0;
  job_.train.local_epochs = 4;
  const auto tuner = MakeFirstOrderTuner(base_, job_);
  ASSERT_TRUE(tuner.ok()) << tuner.status();
  ParameterSet moved = Moved();
  const std::vector<Example> examples = Examples();
  TuneRequest request;
  request.global = &moved;
  request.examples = examples;
  const auto result = (*tuner)->Tune(request);
  ASSERT_TRUE(result.ok()) << result.status();
  const double before = LossOf(moved);
  for (size_t i = 0; i < moved.size(); ++i) {
    const auto delta = result->delta.floats(i);
    EXPECT_TRUE(std::any_of(delta.begin(), delta.end(), [](float d) { return d != 0; }))
        << moved.manifest()[i].name;
    for (size_t j = 0; j < delta.size(); ++j) moved.floats(i)[j] += delta[j];
  }
  EXPECT_LT(LossOf(moved), before);
}

INSTANTIATE_TEST_SUITE_P(All, MethodContract, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

TEST(Method, AFactorWithoutItsPartnerIsRefused) {
  const Manifest manifest = {{"base_model.model.x.lora_A.weight", DType::kF32, {2, 4}}};
  EXPECT_EQ(MakeLora(manifest, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Method, FactorsOfDifferentRanksAreRefused) {
  const Manifest manifest = {{"base_model.model.x.lora_A.weight", DType::kF32, {2, 4}},
                             {"base_model.model.x.lora_B.weight", DType::kF32, {4, 3}}};
  EXPECT_EQ(MakeLora(manifest, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Method, APromptWithoutItsTensorOrItsStartIsRefused) {
  EXPECT_EQ(MakePrompt({}, {}, 1).status().code(), absl::StatusCode::kInvalidArgument);
  const Manifest subspace = {{"prompt_subspace", DType::kF32, {3}}};
  EXPECT_EQ(MakePrompt(subspace, {}, 1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Method, AnIncompleteBottleneckIsRefused) {
  const Manifest manifest = {
      {"model.layers.0.output_adapters.adapters.a.adapter_up.bias", DType::kF32, {4}}};
  EXPECT_EQ(MakeSeqBn(manifest, "relu").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeSeqBn({}, "sigmoid").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rivulet
