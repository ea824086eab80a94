// Models against the reference's logits, losses and gradients (shared/golden/models). Bounds: its
// README, 5e-5 absolute on logits, 1e-5 on losses, 2e-5 of the largest value on gradients.
#include "tests/unit/peft/golden.h"

#include <torch/csrc/autograd/autograd.h>

#include "peft/model/generate.h"

namespace rivulet {
namespace {

using testing::Golden;

struct Case {
  std::string model;   // folder of config and weights
  std::string golden;  // folder of golden.safetensors
  Task task = Task::kCausalLm;
  std::string weights = "model.safetensors";
};
void PrintTo(const Case& which, std::ostream* out) { *out << which.model; }

class ModelGolden : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto models = testing::GoldenFolder() / "models";
    RV_SKIP_WITHOUT(models / GetParam().model / GetParam().weights);
    auto base = BaseModel::Load(models / GetParam().model,
                                {task() == Task::kCausalLm ? "causal-lm" : "classification", {}});
    ASSERT_TRUE(base.ok()) << base.status();
    base_ = *base;
    network_ = MakeNetwork(base_);
    golden_.emplace(models / GetParam().golden / "golden.safetensors");
  }
  Task task() const { return GetParam().task; }
  Batch Plain() const {
    return testing::BatchOf(
        testing::ExamplesOf(Value("input_ids"), {}, Optional("labels"), Optional("token_type_ids")),
        task(), base_->config());
  }
  Batch Padded() const {
    return testing::BatchOf(
        testing::ExamplesOf(Value("padded.input_ids"), Value("padded.attention_mask"),
                            Value("padded.labels"), Optional("padded.token_type_ids")),
        task(), base_->config());
  }
  bool OnlyPlainLogits() const { return !golden_->Has("padded.logits"); }
  at::Tensor Value(const std::string& name) const { return (*golden_)[name]; }
  at::Tensor Optional(const std::string& name) const {
    return golden_->Has(name) ? (*golden_)[name] : at::Tensor();
  }

  std::shared_ptr<const BaseModel> base_;
  std::unique_ptr<Network> network_;
  std::optional<Golden> golden_;
  kernels::Workspace workspace_;
  Pass pass_{&workspace_, std::nullopt, false};
};

TEST_P(ModelGolden, LogitsEqualTheReference) {
  const at::NoGradGuard no_grad;
  const at::Tensor logits = testing::LogitsOf(*network_, Plain(), task(), {}, pass_);
  EXPECT_LE(testing::LargestDifference(logits, Value("logits")), 5e-5);
}

at::Tensor RoundedToBf16(const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kFloat); }

TEST_P(ModelGolden, LogitsOfRoundedWeightsEqualTheReference) {
  if (!golden_->Has("logits_bf16_weights")) GTEST_SKIP() << "the golden file has no such pass";
  const at::NoGradGuard no_grad;
  Adaptation rounded;
  for (const auto& [name, tensor] : base_->tensors()) {
    rounded.replaced[name] = RoundedToBf16(tensor);
  }
  const at::Tensor logits = testing::LogitsOf(*network_, Plain(), task(), rounded, pass_);
  EXPECT_LE(testing::LargestDifference(logits, Value("logits_bf16_weights")), 5e-5);
}

// Rounding the weights to 8 bits moves the reference's logits by a known amount. Rounding the rows
// they are multiplied with is an independent error of the same size: 3 times leaves room for the
// largest of a few hundred logits.
TEST_P(ModelGolden, Bf16ArithmeticStaysAsNearAsRoundedWeightsDo) {
  if (!golden_->Has("logits_bf16_weights")) GTEST_SKIP() << "the golden file has no such pass";
  const at::NoGradGuard no_grad;
  const auto narrow = BaseModel::Load(
      testing::GoldenFolder() / "models" / GetParam().model,
      {task() == Task::kCausalLm ? "causal-lm" : "classification", {}, Compute::kBFloat16});
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  const Adaptation none;
  const auto network = MakeNetwork(*narrow);
  const at::Tensor hidden = network->Hidden(Plain(), none, pass_);
  at::Tensor logits;
  if (task() == Task::kClassification) {
    logits = network->Classify(hidden, Plain(), none, pass_);
  } else {
    const Linear output[] = {{network->OutputMatrix(none), {}, nullptr}};
    logits = Project(hidden, output, pass_).view_as(Value("logits"));
  }
  const double moved = testing::LargestDifference(Value("logits_bf16_weights"), Value("logits"));
  const double off = testing::LargestDifference(logits, Value("logits"));
  EXPECT_LE(off, 3 * moved);
  EXPECT_GT(off, 0.1 * moved);  // it is bf16 arithmetic
}

TEST_P(ModelGolden, LogitsOfAPaddedBatchEqualTheReference) {
  if (OnlyPlainLogits()) GTEST_SKIP() << "the golden file has one pass only";
  const at::NoGradGuard no_grad;
  const at::Tensor logits = testing::LogitsOf(*network_, Padded(), task(), {}, pass_);
  EXPECT_LE(
      testing::LargestDifference(logits, Value("padded.logits"), Value("padded.attention_mask")),
      5e-5);
}

TEST_P(ModelGolden, LossesEqualTheReference) {
  if (OnlyPlainLogits()) GTEST_SKIP() << "the golden file has one pass only";
  const at::NoGradGuard no_grad;
  const auto loss = [&](const Batch& batch) {
    return BatchLoss(*network_, batch, task(), {}, pass_).mean.item<double>();
  };
  EXPECT_NEAR(loss(Plain()), Value("loss").item<double>(), 1e-5);
  EXPECT_NEAR(loss(Padded()), Value("padded.loss").item<double>(), 1e-5);
}

// With and without keeping the activations of layers.
TEST_P(ModelGolden, GradientsOfBaseTensorsEqualTheReference) {
  if (OnlyPlainLogits()) GTEST_SKIP() << "the golden file has one pass only";
  for (const bool checkpointing : {false, true}) {
    pass_.checkpointing = checkpointing;
    Adaptation adaptation;
    for (const auto& [name, tensor] : golden_->all()) {
      if (!name.starts_with("grad.")) continue;
      const std::string own = name.substr(5);
      adaptation.replaced[own] = base_->Find(own).clone().set_requires_grad(true);
    }
    const LossSums sums = BatchLoss(*network_, Padded(), task(), adaptation, pass_);
    torch::autograd::backward({sums.mean});
    ASSERT_FALSE(adaptation.replaced.empty());
    for (const auto& [name, tensor] : adaptation.replaced) {
      const at::Tensor want = Value("grad." + name);
      EXPECT_LE(testing::LargestDifference(tensor.grad(), want),
                2e-5 * want.abs().max().item<double>())
          << name << (checkpointing ? " checkpointed" : "");
    }
  }
}

TEST_P(ModelGolden, GreedyTextEqualsTheReference) {
  if (!golden_->Has("greedy.prompt")) GTEST_SKIP() << "the golden file has no text";
  const at::Tensor prompt = Value("greedy.prompt"), want = Value("greedy.ids");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < prompt.numel(); ++i) ids.push_back(prompt[i].item<int32_t>());
  GenerateOptions options;
  options.max_new_tokens = static_cast<int>(want.numel());
  const auto text = GenerateTokens(*network_, {}, ids, options, pass_);
  ASSERT_EQ(static_cast<int64_t>(text.size()), want.numel());
  for (int64_t i = 0; i < want.numel(); ++i) EXPECT_EQ(text[i], want[i].item<int32_t>()) << i;
}

// scale * B A beside the pooler is scale * B A in its weight: equal but for the order of sums.
TEST(BertPooler, ALowRankTermActsAsItsProductInTheWeight) {
  const auto folder = testing::GoldenFolder() / "models/bert";
  const auto base = BaseModel::Load(folder, {"classification", {}});
  ASSERT_TRUE(base.ok()) << base.status();
  const at::NoGradGuard no_grad;
  const int64_t hidden = (*base)->config().hidden_size;
  const auto wave = [](int64_t rows, int64_t columns) {
    return at::arange(rows * columns, at::kFloat).view({rows, columns}).mul(0.7).sin().mul(0.3);
  };
  const at::Tensor a = wave(4, hidden), b = wave(hidden, 4);
  Adaptation beside, inside;
  beside.low_rank["bert.pooler.dense"] = {a, b, 2};
  const std::string weight = "bert.pooler.dense.weight";
  inside.replaced[weight] = (*base)->Find(weight) + 2 * at::matmul(b, a);
  kernels::Workspace workspace;
  Pass pass{&workspace, std::nullopt, false};
  const Golden golden(folder / "golden.safetensors");
  const Batch batch = testing::BatchOf(
      testing::ExamplesOf(golden["input_ids"], {}, golden["labels"], golden["token_type_ids"]),
      Task::kClassification, (*base)->config());
  const auto network = MakeNetwork(*base);
  const auto logits = [&](const Adaptation& adaptation) {
    return testing::LogitsOf(*network, batch, Task::kClassification, adaptation, pass);
  };
  EXPECT_LE(testing::LargestDifference(logits(beside), logits(inside)), 1e-5);
  EXPECT_GT(testing::LargestDifference(logits(beside), logits({})), 1e-3);
}

// The reference in bf16 throughout is off from its own fp32 arithmetic by up to 0.0712. Ours rounds
// less. Two independent errors of that size are 1.41 times as far from each other.
TEST(Bf16Model, LogitsAreNoFartherOffThanThoseOfTheReference) {
  const auto folder = testing::GoldenFolder() / "models/llama_bf16";
  const auto base = BaseModel::Load(folder, {"causal-lm", {}, Compute::kBFloat16});
  ASSERT_TRUE(base.ok()) << base.status();
  const Golden golden(folder / "golden.safetensors");
  const at::NoGradGuard no_grad;
  kernels::Workspace workspace;
  Pass pass{&workspace, std::nullopt, false};
  const Batch batch = testing::BatchOf(testing::ExamplesOf(golden["input_ids"], {}, {}, {}),
                                       Task::kCausalLm, (*base)->config());
  const auto network = MakeNetwork(*base);
  const Adaptation none;
  const Linear output[] = {{network->OutputMatrix(none), {}, nullptr}};
  const at::Tensor logits =
      Project(network->Hidden(batch, none, pass), output, pass).view_as(golden["logits"]);
  const at::Tensor throughout = golden["logits_bf16_compute"].to(at::kFloat);
  const double reference = testing::LargestDifference(throughout, golden["logits"]);
  EXPECT_LE(testing::LargestDifference(logits, golden["logits"]), reference);
  EXPECT_LE(testing::LargestDifference(logits, throughout), 1.5 * reference);
}

INSTANTIATE_TEST_SUITE_P(All, ModelGolden,
                         ::testing::Values(Case{"llama", "llama"}, Case{"llama_tied", "llama_tied"},
                                           Case{"llama_ropescaled", "llama_ropescaled"},
                                           Case{"llama_ropelinear", "llama_ropelinear"},
                                           Case{"llama_bf16", "llama_bf16"},
                                           Case{"llama_sharded", "llama", Task::kCausalLm,
                                                "model-00001-of-00003.safetensors"},
                                           Case{"llama_seqcls", "llama_seqcls",
                                                Task::kClassification},
                                           Case{"bert", "bert", Task::kClassification},
                                           Case{"bert_old_names", "bert", Task::kClassification}),
                         [](const auto& info) { return info.param.model; });

}  // namespace
}  // namespace rivulet
