// Example privacy with every method: gradients of single examples against autograd, and sums
// against their parts.
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "peft/kernels/optimizer.h"
#include "tests/unit/peft/trainer/private_work.h"
#include "tests/unit/peft/trainer/told_noise.h"

namespace rivulet {
namespace {

using testing::Clip;
using testing::NormOf;
using testing::PrivateCase;
using testing::PrivateWork;

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
  // Ordinary steps may compute short products of bfloat16 as dot products, which keep 8 bits of
  // their left operands; private steps never do.
  double OrdinaryBound() const { return work_.job.model.dtype == "bfloat16" ? 0x1p-7 : 2e-5; }
  PrivateWork work_{GetParam()};
};

// In a padded micro-batch of many lengths as alone. bf16 rounds left operands, alike in both.
TEST_P(PrivateMethods, GradientsOfExamplesEqualAutogradOfEachAlone) {
  work_.workspace.steady = true;  // as in a private step: a row is the same in every batch
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
  EXPECT_LE(std::sqrt(difference), OrdinaryBound() * std::sqrt(norm));
  EXPECT_NEAR(priv->grad_norm, plain->grad_norm, OrdinaryBound() * plain->grad_norm);
}

INSTANTIATE_TEST_SUITE_P(All, PrivateMethods, ::testing::ValuesIn(kPrivateCases),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace rivulet
