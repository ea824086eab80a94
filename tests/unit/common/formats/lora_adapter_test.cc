#include "common/formats/lora_adapter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "common/formats/safetensors_writer.h"
#include "common/io/file.h"
#include "tests/unit/common/formats/golden.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using nlohmann::json;

// Adapters that PEFT 0.21.2 wrote.
constexpr const char* kGolden[] = {"llama_lora",        "llama_lora_alllinear", "llama_lora_regex",
                                   "llama_lora_layers", "llama_lora_pattern",   "bert_lora",
                                   "llama_seqcls_lora"};

std::set<std::string> AsSet(const json& names) { return names.get<std::set<std::string>>(); }

TEST(PeftDirectory, RoundTripKeepsEveryKeyShapeAndByteOfTheReference) {
  const auto golden = GoldenFolder() / "adapters";
  for (const char* name : kGolden) {
    const auto adapter = ReadPeftDirectory(golden / name);
    ASSERT_TRUE(adapter.ok()) << name << ": " << adapter.status();
    const auto out = Scratch();
    ASSERT_TRUE(WritePeftDirectory(out, *adapter).ok());
    EXPECT_EQ(*ReadFile(out / "adapter_model.safetensors", 1 << 20),
              *ReadFile(golden / name / "adapter_model.safetensors", 1 << 20))
        << name;
    EXPECT_EQ(ReadPeftDirectory(out)->config, adapter->config) << name;
  }
}

TEST(PeftDirectory, EveryConfigKeyThatWeWriteIsTheOneOfTheReference) {
  const auto golden = GoldenFolder() / "adapters";
  for (const char* name : kGolden) {
    const json want = json::parse(*ReadFile(golden / name / "adapter_config.json", 1 << 20));
    const json got = json::parse(PeftLoraConfigText(ReadPeftDirectory(golden / name)->config));
    for (const auto& [key, value] : got.items()) {
      if (key == "peft_version" || key == "layers_pattern") continue;
      ASSERT_TRUE(want.contains(key)) << key;
      if (key == "target_modules" && value.is_array())
        EXPECT_EQ(AsSet(value), AsSet(want[key])) << name;
      else
        EXPECT_EQ(value, want[key]) << name << " " << key;
    }
  }
}

TEST(PeftConfig, IsWrittenWithSortedKeysIndentTwoAndNoNewline) {
  PeftLoraConfig config;
  config.base_model = "org/name";
  config.task_type = "CAUSAL_LM";
  config.alpha = 16;
  config.target_modules = {"v_proj", "q_proj"};
  EXPECT_EQ(PeftLoraConfigText(config), R"({
  "alpha_pattern": {},
  "auto_mapping": null,
  "base_model_name_or_path": "org/name",
  "bias": "none",
  "exclude_modules": null,
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "layers_pattern": null,
  "layers_to_transform": null,
  "lora_alpha": 16,
  "lora_dropout": 0.0,
  "modules_to_save": null,
  "peft_type": "LORA",
  "peft_version": "0.18.0",
  "r": 8,
  "rank_pattern": {},
  "revision": null,
  "target_modules": [
    "q_proj",
    "v_proj"
  ],
  "task_type": "CAUSAL_LM",
  "use_dora": false,
  "use_rslora": false
})");
}

// generate/peft_adapters.py: r 4, alpha 8, rsLoRA; down_proj r 2, layer 1's q_proj r 3; k_proj
// alpha 5, layer 0's gate_proj alpha 16.
TEST(PeftConfig, PatternsGiveEveryModuleItsOwnRankAndScale) {
  const auto folder = GoldenFolder() / "adapters" / "llama_lora_pattern";
  const LoraAdapter adapter = *ReadPeftDirectory(folder);
  ASSERT_EQ(adapter.factors.size(), 14u);
  const auto of = [&](const std::string& path) {
    for (const LoraFactors& factors : adapter.factors) {
      if (factors.path == path) return factors;
    }
    return LoraFactors{};
  };
  EXPECT_EQ(of("model.layers.0.mlp.down_proj").rank, 2);
  EXPECT_DOUBLE_EQ(of("model.layers.0.mlp.down_proj").scale, 8 / std::sqrt(2.0));
  EXPECT_EQ(of("model.layers.1.self_attn.q_proj").rank, 3);
  EXPECT_DOUBLE_EQ(of("model.layers.1.self_attn.k_proj").scale, 5 / 2.0);
  EXPECT_DOUBLE_EQ(of("model.layers.0.mlp.gate_proj").scale, 16 / 2.0);
  EXPECT_DOUBLE_EQ(of("model.layers.1.mlp.gate_proj").scale, 8 / 2.0);
}

TEST(PeftConfig, WhatWeDoNotComputeIsRefusedByName) {
  const auto message = [](const std::string& more) {
    return std::string(
        ParsePeftLoraConfig(R"({"peft_type":"LORA",)" + more + "}").status().message());
  };
  EXPECT_EQ(message(R"("use_dora":true)"),
            "use_dora: got true, want none or false: not computed here");
  EXPECT_EQ(message(R"("bias":"all")"), "bias: got \"all\", want none");
  EXPECT_EQ(message(R"("lora_bias":true)"),
            "lora_bias: got true, want none or false: not computed here");
  EXPECT_EQ(message(R"("init_lora_weights":"pissa")"),
            "init_lora_weights: got \"pissa\", want true, false, gaussian, orthogonal or eva");
  EXPECT_EQ(message(R"("r":0)"), "r: got 0, want an integer 1..65536");
  EXPECT_EQ(message(R"("task_type":"POETRY")").substr(0, 23), "task_type: got \"POETRY\"");
  EXPECT_EQ(ParsePeftLoraConfig(R"({"peft_type":"IA3"})").status().message(),
            "peft_type: got \"IA3\", want LORA");
}

TEST(PeftDirectory, OtherMethodsOfTheReferenceAreRefusedByName) {
  const auto golden = GoldenFolder() / "adapters";
  for (const char* name : {"llama_dora", "llama_ia3", "llama_lora_bias", "llama_lora_embed",
                           "llama_lora_tokens", "llama_prefix", "bert_prompt", "llama_lntuning"}) {
    EXPECT_EQ(ReadPeftDirectory(golden / name).status().code(), absl::StatusCode::kUnimplemented)
        << name << ReadPeftDirectory(golden / name).status();
  }
}

ParameterSet Weights(int64_t rank_a, int64_t rank_b, const std::string& other = "") {
  Manifest manifest = {{LoraAKey("m"), DType::kF32, {rank_a, 3}},
                       {LoraBKey("m"), DType::kF32, {2, rank_b}}};
  if (!other.empty()) manifest.push_back({other, DType::kF32, {1}});
  return ParameterSet(manifest);
}

TEST(LoraAdapter, KeysThatDoNotFitTheConfigAreNamed) {
  PeftLoraConfig config;
  config.rank = 2;
  EXPECT_TRUE(MakeLoraAdapter(config, Weights(2, 2)).ok());
  EXPECT_FALSE(MakeLoraAdapter(config, Weights(2, 3)).ok());
  EXPECT_FALSE(MakeLoraAdapter(config, Weights(4, 4)).ok());
  EXPECT_FALSE(MakeLoraAdapter(config, ParameterSet()).ok());
  EXPECT_EQ(MakeLoraAdapter(config, ParameterSet(Manifest{{LoraAKey("m"), DType::kF32, {2, 3}}}))
                .status()
                .message(),
            "adapter: got base_model.model.m.lora_A.weight without its lora_B");
  EXPECT_EQ(
      MakeLoraAdapter(config, Weights(2, 2, "base_model.model.score.weight")).status().message(),
      "adapter key: got 'base_model.model.score.weight', which is neither a factor nor in "
      "modules_to_save");
  config.modules_to_save = {"score"};
  EXPECT_TRUE(MakeLoraAdapter(config, Weights(2, 2, "base_model.model.score.weight")).ok());
  EXPECT_FALSE(MakeLoraAdapter(config, Weights(2, 2, "model.score.weight")).ok());
}

TEST(LoraAdapter, AnAdapterOfAnotherModelDoesNotFit) {
  const auto golden = GoldenFolder();
  const LoraAdapter adapter = *ReadPeftDirectory(golden / "adapters" / "llama_lora");
  EXPECT_EQ(CheckFits(adapter, *ReadModelConfig(golden / "models" / "llama"))->size(), 14u);
  EXPECT_FALSE(CheckFits(adapter, *ReadModelConfig(golden / "models" / "bert")).ok());
  EXPECT_FALSE(CheckFits(adapter, *ReadModelConfig(std::filesystem::path(RIVULET_SOURCE_DIR) /
                                                   "simulations/models/llama-7m"))
                   .ok());
}

TEST(WithUniformRank, LeavesDeltaAsItWas) {
  const auto golden = GoldenFolder() / "adapters";
  const LoraAdapter adapter = *ReadPeftDirectory(golden / "llama_lora_pattern");
  const LoraAdapter uniform = *WithUniformRank(adapter);
  EXPECT_EQ(uniform.config.rank, 4);
  EXPECT_EQ(uniform.config.alpha, 4);
  EXPECT_FALSE(uniform.config.use_rslora);
  EXPECT_TRUE(uniform.config.rank_pattern.empty());
  for (const LoraFactors& factors : uniform.factors) EXPECT_EQ(factors.scale, 1);
  // Entries of dW reach about 1; a product of four binary32 terms rounds within 1e-6.
  EXPECT_LT(*LargestDeltaDifference(adapter, uniform), 1e-6);
  // Equal ranks and scales: the same bytes, only the config changes.
  const LoraAdapter plain = *ReadPeftDirectory(golden / "llama_lora");
  EXPECT_EQ(WithUniformRank(plain)->weights.HashHex(), plain.weights.HashHex());
  EXPECT_EQ(PortableLora(*ReadPeftDirectory(golden / "bert_lora")).status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(WithUniformRank, SavedModulesStay) {
  const auto golden = GoldenFolder() / "adapters";
  LoraAdapter adapter = *ReadPeftDirectory(golden / "bert_lora");
  EXPECT_EQ(HeadClasses(adapter), 3);
  adapter.factors[0].scale *= 2;  // no longer uniform: every tensor is written anew
  const LoraAdapter uniform = *WithUniformRank(adapter);
  ASSERT_EQ(uniform.saved, adapter.saved);
  for (size_t row : uniform.saved) {
    const std::span<const float> want = adapter.weights.floats(row);
    const std::span<const float> got = uniform.weights.floats(row);
    EXPECT_TRUE(std::equal(want.begin(), want.end(), got.begin(), got.end()));
  }
}

}  // namespace
}  // namespace rivulet
