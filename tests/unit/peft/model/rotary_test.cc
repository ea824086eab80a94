#include "peft/model/rotary.h"

#include "common/formats/safetensors_writer.h"
#include "peft/model/generate.h"
#include "tests/unit/peft/golden.h"

namespace rivulet {
namespace {

ModelConfig ConfigOf(double theta, int64_t head_dim, RopeConfig rope) {
  ModelConfig config;
  config.head_dim = head_dim;
  config.rope = rope;
  config.rope.theta = theta;
  return config;
}

struct Entry {
  int64_t index;
  double inverse;
};
// Bound: the vectors have nine digits.
void ExpectInverse(const RotaryFrequencies& got, std::initializer_list<Entry> entries) {
  for (const Entry& want : entries) {
    EXPECT_NEAR(got.inverse.at(want.index), want.inverse, 1e-8 * want.inverse) << want.index;
  }
}

// Vectors: the reference's rule in double precision.
TEST(RotaryFrequencies, OfLlama3EqualTheReference) {
  RopeConfig rope;
  rope.kind = RopeKind::kLlama3;
  rope.factor = 8;
  rope.original_max_position_embeddings = 8192;
  const RotaryFrequencies got = RotaryFrequenciesOf(ConfigOf(5e5, 128, rope), 1);
  ASSERT_EQ(got.inverse.size(), 64u);
  EXPECT_EQ(got.attention_factor, 1);
  ExpectInverse(got, {{0, 1},
                      {1, 0.814617234},
                      {28, 0.00321144599},
                      {29, 0.00216657076},
                      {30, 0.00137189357},
                      {32, 0.000524846161},
                      {34, 0.000178507813},
                      {35, 9.55621235e-05},
                      {63, 3.06892599e-07}});
}

TEST(RotaryFrequencies, OfYarnEqualTheReference) {
  RopeConfig rope;
  rope.kind = RopeKind::kYarn;
  rope.factor = 4;
  rope.original_max_position_embeddings = 32768;
  const RotaryFrequencies got = RotaryFrequenciesOf(ConfigOf(1e6, 128, rope), 1);
  EXPECT_NEAR(got.attention_factor, 1.13862944, 1e-8);
  ExpectInverse(got, {{23, 0.00697830585},
                      {24, 0.00537532149},
                      {31, 0.000802959728},
                      {40, 4.44569853e-05},
                      {63, 3.1023444e-07}});
}

// By hand: d = 4, so the exponent is 2, and the stretch at L is 2 L / 8 - 1: 1 up to 8, 2 at 12, 3
// at 16. theta 16 becomes 16, 64, 144; the second frequency is 1 / sqrt(theta).
TEST(RotaryFrequencies, OfDynamicGrowTheBaseBeyondTheTrainedLength) {
  RopeConfig rope;
  rope.kind = RopeKind::kDynamic;
  rope.factor = 2;
  ModelConfig config = ConfigOf(16, 4, rope);
  config.max_position_embeddings = 8;
  const std::pair<int64_t, double> kWanted[] = {{1, 4}, {8, 4}, {12, 8}, {16, 12}};
  for (const auto& [length, root] : kWanted) {
    const RotaryFrequencies got = RotaryFrequenciesOf(config, length);
    EXPECT_EQ(got.inverse.at(0), 1);
    EXPECT_DOUBLE_EQ(got.inverse.at(1), 1 / root) << length;
  }
}

std::shared_ptr<const BaseModel> LoadOf(const std::filesystem::path& folder) {
  const auto base = BaseModel::Load(folder);
  EXPECT_TRUE(base.ok()) << base.status();
  return *base;
}

std::vector<Example> OneOf(int64_t length) {
  Example example;
  for (int64_t t = 0; t < length; ++t) example.ids.push_back(static_cast<int32_t>(7 * t % 97));
  return {example};
}

// llama: theta 500, head_dim 16. At 12 tokens, stretch 2: the base is 500 * 2^(16/14).
TEST(DynamicRope, APassBeyondTheTrainedLengthIsThatOfTheGrownBase) {
  const auto dynamic = LoadOf(testing::ModelWith(
      "llama",
      {{"max_position_embeddings", 8},
       {"rope_parameters", {{"rope_type", "dynamic"}, {"factor", 2.0}, {"rope_theta", 500.0}}}}));
  const auto grown = LoadOf(testing::ModelWith(
      "llama", {{"rope_parameters", {{"rope_theta", 500 * std::pow(2.0, 16.0 / 14)}}}}));
  const at::NoGradGuard no_grad;
  kernels::Workspace workspace;
  Pass pass{&workspace, std::nullopt, false};
  const auto logits = [&](std::shared_ptr<const BaseModel> base, int64_t length) {
    const Batch batch = testing::BatchOf(OneOf(length), Task::kCausalLm, base->config());
    return testing::LogitsOf(*MakeNetwork(base), batch, Task::kCausalLm, {}, pass);
  };
  EXPECT_LE(testing::LargestDifference(logits(dynamic, 12), logits(grown, 12)), 1e-6);
  EXPECT_GT(testing::LargestDifference(logits(dynamic, 8), logits(grown, 8)), 1e-3);
}

TEST(DynamicRope, SequencesReachFactorTimesTheTrainedLength) {
  const auto base = LoadOf(testing::ModelWith(
      "llama",
      {{"max_position_embeddings", 8},
       {"rope_parameters", {{"rope_type", "dynamic"}, {"factor", 2.0}, {"rope_theta", 500.0}}}}));
  const auto status = [&](int64_t length) {
    const std::vector<Example> examples = OneOf(length);
    const Example* const pointer = examples.data();
    return MakeBatch({&pointer, 1}, Task::kCausalLm, base->config()).status();
  };
  EXPECT_TRUE(status(16).ok());
  EXPECT_EQ(status(17).message(), "example: got 17 tokens, want 1..16");
  // A text of 5 tokens gets 11 more and a last one that is not fed back.
  kernels::Workspace workspace;
  Pass pass{&workspace, std::nullopt, false};
  GenerateOptions options;
  options.max_new_tokens = 24;
  const std::vector<int32_t> prompt = {1, 5, 9, 2, 3};
  EXPECT_EQ(GenerateTokens(*MakeNetwork(base), {}, prompt, options, pass).size(), 12u);
}

// The reference's qwen2 under yarn is a llama whose o_proj has a bias of zero.
TEST(YarnRope, AWholePassEqualsTheReference) {
  const auto from = testing::GoldenFolder() / "models/qwen2_yarn";
  RV_SKIP_WITHOUT(from / "model.safetensors");
  const auto folder = testing::ModelWith(
      "qwen2_yarn",
      {{"model_type", "llama"}, {"architectures", {"LlamaForCausalLM"}}, {"attention_bias", true}});
  auto weights = ReadParameterSetFile(from / "model.safetensors");
  ASSERT_TRUE(weights.ok()) << weights.status();
  Manifest manifest = weights->manifest();
  const auto config = ReadModelConfig(folder);
  ASSERT_TRUE(config.ok()) << config.status();
  for (int64_t layer = 0; layer < config->num_hidden_layers; ++layer) {
    manifest.push_back({"model.layers." + std::to_string(layer) + ".self_attn.o_proj.bias",
                        DType::kF32,
                        {config->hidden_size}});
  }
  std::sort(manifest.begin(), manifest.end(),
            [](const TensorSpec& a, const TensorSpec& b) { return a.name < b.name; });
  ParameterSet all(manifest);
  for (size_t i = 0; i < weights->size(); ++i) {
    const auto values = weights->floats(i);
    std::copy(values.begin(), values.end(),
              all.floats(all.IndexOf(weights->manifest()[i].name)).begin());
  }
  std::filesystem::remove(folder / "model.safetensors");
  ASSERT_TRUE(WriteSafetensors(folder / "model.safetensors", all).ok());

  const auto base = LoadOf(folder);
  const testing::Golden golden(from / "golden.safetensors");
  const at::NoGradGuard no_grad;
  kernels::Workspace workspace;
  Pass pass{&workspace, std::nullopt, false};
  const Batch batch =
      testing::BatchOf(testing::ExamplesOf(golden["input_ids"], {}, golden["labels"], {}),
                       Task::kCausalLm, base->config());
  const at::Tensor logits = testing::LogitsOf(*MakeNetwork(base), batch, Task::kCausalLm, {}, pass);
  EXPECT_LE(testing::LargestDifference(logits, golden["logits"]), 5e-5);
}

}  // namespace
}  // namespace rivulet
