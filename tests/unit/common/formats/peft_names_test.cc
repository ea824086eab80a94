#include "common/formats/peft_names.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "common/formats/float_cast.h"
#include "common/formats/regex.h"

namespace rivulet {
namespace {

ModelConfig Llama(const std::string& more = "") {
  return *ParseModelConfig(R"({"model_type":"llama","hidden_size":64,"intermediate_size":112,
      "num_attention_heads":4,"num_key_value_heads":2,"num_hidden_layers":2,"vocab_size":97)" +
                           more + "}");
}
ModelConfig Bert() {
  return *ForTask(*ParseModelConfig(R"({"model_type":"bert","hidden_size":64,
      "intermediate_size":112,"num_attention_heads":4,"num_hidden_layers":2,"vocab_size":97})"),
                  "classification", {"a", "b", "c"});
}

std::vector<std::string> Selected(const ModelConfig& config, std::vector<std::string> targets,
                                  std::vector<int> layers = {},
                                  std::vector<std::string> saved = {}) {
  LoraSection lora;
  lora.lora_target_modules = std::move(targets);
  lora.layers_to_transform = std::move(layers);
  const auto modules =
      SelectModules(LinearModules(config), *SelectorOf(lora, config.family), saved);
  std::vector<std::string> paths;
  for (const LinearModule& module : *modules) paths.push_back(module.path);
  return paths;
}
absl::Status Refusal(const ModelConfig& config, std::vector<std::string> targets) {
  LoraSection lora;
  lora.lora_target_modules = std::move(targets);
  const auto selector = SelectorOf(lora, config.family);
  if (!selector.ok()) return selector.status();
  return SelectModules(LinearModules(config), *selector, {}).status();
}

TEST(LinearModules, KnowTheirWidthsAndLayers) {
  const auto modules = LinearModules(Llama(R"(,"mlp_bias":true)"));
  ASSERT_EQ(modules.size(), 15u);
  EXPECT_EQ(modules[1], (LinearModule{"model.layers.0.self_attn.k_proj", 64, 32, 0, false, false}));
  EXPECT_EQ(modules[6], (LinearModule{"model.layers.0.mlp.down_proj", 112, 64, 0, true, false}));
  EXPECT_EQ(modules[14], (LinearModule{"lm_head", 64, 97, -1, false, true}));
  const auto bert = LinearModules(Bert());
  ASSERT_EQ(bert.size(), 14u);
  EXPECT_EQ(bert[12], (LinearModule{"bert.pooler.dense", 64, 64, -1, true, false}));
  EXPECT_EQ(bert[13], (LinearModule{"classifier", 64, 3, -1, true, true}));
}

TEST(SelectModules, FamilyDefaultsAreThoseOfPeft) {
  EXPECT_EQ(Selected(Llama(), {}).size(), 4u);
  EXPECT_EQ(Selected(Llama(), {})[0], "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(Selected(Bert(), {})[1], "bert.encoder.layer.0.attention.self.value");
}

TEST(SelectModules, AllLinearLeavesTheOutputHeadOut) {
  EXPECT_EQ(Selected(Llama(), {"all-linear"}).size(), 14u);
  const auto bert = Selected(Bert(), {"all-linear"});
  EXPECT_EQ(bert.size(), 13u);
  EXPECT_EQ(bert.back(), "bert.pooler.dense");  // PEFT adapts it as well
  EXPECT_EQ(Selected(Bert(), {"all-linear"}, {}, {"bert.pooler.dense"}).size(), 12u);
}

// formats.md: `output.dense` also matches attention.output.dense.
TEST(SelectModules, ANameIsAPathSuffixAtADot) {
  EXPECT_EQ(Selected(Bert(), {"output.dense"}).size(), 4u);
  EXPECT_EQ(Selected(Bert(), {"dense"}).size(), 7u);
  EXPECT_EQ(Selected(Llama(), {"model.layers.1.mlp.up_proj"}).size(), 1u);
  EXPECT_EQ(Refusal(Llama(), {"proj"}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(SelectModules, APatternMatchesTheWholePath) {
  EXPECT_EQ(Selected(Llama(), {R"(regex:.*layers\.0\..*\.(q|v)_proj)"}),
            (std::vector<std::string>{"model.layers.0.self_attn.q_proj",
                                      "model.layers.0.self_attn.v_proj"}));
  EXPECT_FALSE(Refusal(Llama(), {"regex:q_proj"}).ok());
  EXPECT_FALSE(Refusal(Llama(), {"regex:("}).ok());
}

TEST(SelectModules, LayersNarrowTheNames) {
  EXPECT_EQ(Selected(Llama(), {}, {1}),
            (std::vector<std::string>{"model.layers.1.self_attn.q_proj",
                                      "model.layers.1.self_attn.v_proj"}));
  EXPECT_EQ(Selected(Llama(), {"all-linear"}, {1}).size(), 7u);
}

TEST(SelectModules, AnUnknownTargetIsNamedWithItsNeighbours) {
  EXPECT_EQ(
      Refusal(Llama(), {"q_porj"}).message(),
      "lora.lora-target-modules: got 'q_porj', want the name of a Linear (down_proj, gate_proj, "
      "k_proj, lm_head, o_proj, q_proj, up_proj, v_proj); did you mean 'q_proj'?");
  EXPECT_EQ(Refusal(Llama(), {"all-linear", "q_proj"}).message(),
            "lora.lora-target-modules: got 'all-linear' beside other targets, want it alone");
}

TEST(Regex, ARunawayPatternEndsInAnError) {
  const auto pattern = Regex::CompileWhole("(a+)+b");
  EXPECT_EQ(pattern->Matches(std::string(200, 'a') + "bc").status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(*Regex::CompileWhole("a|ab")->Matches("abc"));
  EXPECT_TRUE(*Regex::CompileWhole("a|ab")->Matches("ab"));
  EXPECT_FALSE(Regex::CompileWhole(std::string(1001, 'a')).ok());
  EXPECT_FALSE(*Regex::CompileWhole("a$")->Matches("a\n"));
}

TEST(FloatCast, SixteenBitFloatsSurviveTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const uint16_t half = static_cast<uint16_t>(bits);
    ASSERT_TRUE(std::isnan(FloatOfF16(half)) || F16OfFloat(FloatOfF16(half)) == half);
    ASSERT_TRUE(std::isnan(FloatOfBF16(half)) || BF16OfFloat(FloatOfBF16(half)) == half);
  }
}

// Halfway cases by hand: 1 + 2^-11 lies between 1 and 1 + 2^-10 (f16), 1 + 2^-8 between 1 and
// 1 + 2^-7 (bf16); the even neighbour is taken.
TEST(FloatCast, TiesGoToEven) {
  EXPECT_EQ(F16OfFloat(1.0f + 0x1p-11f), 0x3c00);
  EXPECT_EQ(F16OfFloat(1.0f + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(F16OfFloat(65519.0f), 0x7bff);
  EXPECT_EQ(F16OfFloat(65520.0f), 0x7c00);
  EXPECT_EQ(F16OfFloat(0x1p-25f), 0);
  EXPECT_EQ(F16OfFloat(3 * 0x1p-25f), 2);
  EXPECT_EQ(F16OfFloat(std::nextafter(0x1p-14f, 0.0f)), 0x0400);
  EXPECT_EQ(BF16OfFloat(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(BF16OfFloat(1.0f + 3 * 0x1p-8f), 0x3f82);
  EXPECT_TRUE(std::isnan(FloatOfBF16(BF16OfFloat(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(FloatOfF16(F16OfFloat(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace rivulet
