#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/formats/model_tensors.h"
#include "common/formats/safetensors_writer.h"
#include "common/random.h"
#include "peft/data/example.h"
#include "tests/unit/scratch.h"

// Small base models with drawn weights, for tests that need a model and no reference values.

namespace rivulet::testing {

constexpr int kVocabulary = 61;

inline nlohmann::json SmallLlama() {
  return {{"model_type", "llama"},          {"architectures", {"LlamaForCausalLM"}},
          {"hidden_act", "silu"},           {"hidden_size", 32},
          {"intermediate_size", 48},        {"num_attention_heads", 4},
          {"num_key_value_heads", 2},       {"num_hidden_layers", 2},
          {"max_position_embeddings", 128}, {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", false},   {"vocab_size", kVocabulary}};
}

// Without dropout of its own.
inline nlohmann::json SmallBert() {
  return {{"model_type", "bert"},
          {"architectures", {"BertForSequenceClassification"}},
          {"hidden_act", "gelu"},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_attention_heads", 4},
          {"num_hidden_layers", 2},
          {"max_position_embeddings", 128},
          {"type_vocab_size", 2},
          {"layer_norm_eps", 1e-12},
          {"hidden_dropout_prob", 0},
          {"attention_probs_dropout_prob", 0},
          {"id2label", {{"0", "no"}, {"1", "perhaps"}, {"2", "yes"}}},
          {"vocab_size", kVocabulary}};
}

// A folder with that model; `heads` false leaves out what fine-tuning starts from the seed.
inline std::filesystem::path RandomModel(const nlohmann::json& config, bool heads = true) {
  const auto folder = Scratch();
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << config;
  const auto parsed = ReadModelConfig(folder);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  Manifest manifest;
  for (const ExpectedTensor& tensor : ExpectedTensors(*parsed)) {
    if (tensor.need == TensorNeed::kTied) continue;
    const bool head = tensor.name.starts_with("classifier") || tensor.name.starts_with("score") ||
                      tensor.name.find("pooler") != std::string::npos;
    if (heads || !head) manifest.push_back({tensor.name, DType::kF32, tensor.shape});
  }
  ParameterSet weights(manifest);
  const RandomStream stream(11, Purpose::kBaseTensor, 0);
  for (size_t i = 0; i < weights.size(); ++i) {
    stream.FillGauss(static_cast<uint32_t>(i), weights.floats(i));
    const bool norm = manifest[i].name.find("orm.weight") != std::string::npos;
    for (float& value : weights.floats(i)) value = norm ? 1 + 0.1f * value : 0.15f * value;
  }
  EXPECT_TRUE(WriteSafetensors(folder / "model.safetensors", weights).ok());
  return folder;
}

// `n` examples of least .. most tokens, with classes 0, 1, 2 in turn.
inline std::vector<Example> RandomExamples(int n, uint32_t least, uint32_t most) {
  RandomCursor cursor(RandomStream(5, Purpose::kPartition, 0));
  std::vector<Example> examples(n);
  for (int i = 0; i < n; ++i) {
    const uint32_t length = least + cursor.Bounded(most - least + 1);
    for (uint32_t t = 0; t < length; ++t) {
      examples[i].ids.push_back(static_cast<int32_t>(cursor.Bounded(kVocabulary)));
    }
    examples[i].label = i % 3;
  }
  return examples;
}

// `state` with every number moved by 0.1 of a normal one.
inline ParameterSet Moved(const ParameterSet& state) {
  ParameterSet moved = state;
  const RandomStream stream(9, Purpose::kBaseTensor, 1);
  for (size_t i = 0; i < moved.size(); ++i) {
    std::vector<float> by(moved.floats(i).size());
    stream.FillGauss(static_cast<uint32_t>(i), by);
    for (size_t j = 0; j < by.size(); ++j) moved.floats(i)[j] += 0.1f * by[j];
  }
  return moved;
}

}  // namespace rivulet::testing
