#include "common/formats/model_tensors.h"

#include <gtest/gtest.h>

#include "common/formats/model_files.h"
#include "tests/unit/common/formats/golden.h"

namespace rivulet {
namespace {

ModelConfig SmallBert() {
  return *ParseModelConfig(R"({"model_type":"bert","hidden_size":8,"intermediate_size":16,
      "num_attention_heads":2,"num_hidden_layers":1,"vocab_size":11,"max_position_embeddings":5,
      "architectures":["BertForSequenceClassification"]})");
}

// The tensors a file would have for this config, heads included.
std::vector<TensorSpec> FileOf(const ModelConfig& config) {
  std::vector<TensorSpec> specs;
  for (const ExpectedTensor& tensor : ExpectedTensors(config)) {
    if (tensor.need != TensorNeed::kTied) specs.push_back({tensor.name, DType::kF32, tensor.shape});
  }
  return specs;
}

TEST(ModelTensors, EveryGoldenLlamaAndBertMatchesItsConfig) {
  const auto folder = GoldenFolder() / "models";
  int read = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("llama") && !name.starts_with("bert")) continue;
    const ModelConfig config = *ReadModelConfig(entry.path());
    const auto files = ModelFiles::Open(entry.path());
    // In the tree two of them are without weights.
    if (files.status().code() == absl::StatusCode::kNotFound) continue;
    ASSERT_TRUE(files.ok()) << name << ": " << files.status();
    ++read;
    const auto match = MatchTensors(config, files->specs());
    ASSERT_TRUE(match.ok()) << name << ": " << match.status();
    EXPECT_TRUE(match->missing_heads.empty()) << name;
    EXPECT_EQ(match->file_name_of.size(), ExpectedTensors(config).size()) << name;
    for (const auto& [expected, in_file] : match->file_name_of)
      EXPECT_NE(files->Find(in_file), nullptr) << in_file;
  }
  EXPECT_GE(read, 7);
}

TEST(ModelTensors, OldNamesAndBuffersAreUnderstood) {
  const auto folder = GoldenFolder() / "models" / "bert_old_names";
  const auto match = MatchTensors(*ReadModelConfig(folder), ModelFiles::Open(folder)->specs());
  ASSERT_TRUE(match.ok()) << match.status();
  EXPECT_EQ(match->file_name_of.at("bert.embeddings.LayerNorm.weight"),
            "bert.embeddings.LayerNorm.gamma");
  EXPECT_EQ(match->ignored, std::vector<std::string>{"bert.embeddings.position_ids"});
}

TEST(ModelTensors, AMaskedLanguageModelServesAsAClassifierWithoutPoolerAndHead) {
  const auto folder = SharedFolder() / "models" / "bert-7m";
  RV_SKIP_WITHOUT(folder);
  const auto config = ForTask(*ReadModelConfig(folder), "classification", {"no", "yes"});
  const auto match = MatchTensors(*config, ModelFiles::Open(folder)->specs());
  ASSERT_TRUE(match.ok()) << match.status();
  EXPECT_EQ(match->missing_heads, (std::vector<std::string>{"bert.pooler.dense", "classifier"}));
  EXPECT_FALSE(match->ignored.empty());
  for (const std::string& name : match->ignored) EXPECT_TRUE(name.starts_with("cls.")) << name;
}

TEST(ModelTensors, ABareModelFileIsFoundWithoutItsPrefix) {
  const ModelConfig config = SmallBert();
  std::vector<TensorSpec> bare;
  for (TensorSpec spec : FileOf(config)) {
    if (spec.name.starts_with("bert.")) spec.name = spec.name.substr(5);
    if (!spec.name.starts_with("classifier")) bare.push_back(spec);
  }
  const auto match = MatchTensors(config, bare);
  ASSERT_TRUE(match.ok()) << match.status();
  EXPECT_EQ(match->file_name_of.at("bert.pooler.dense.weight"), "pooler.dense.weight");
  EXPECT_EQ(match->missing_heads, std::vector<std::string>{"classifier"});
}

TEST(ModelTensors, ATiedHeadIsTheEmbeddingAndACopyInTheFileIsIgnored) {
  const ModelConfig config = *ParseModelConfig(
      R"({"model_type":"llama","hidden_size":8,"intermediate_size":16,"num_attention_heads":2,
          "num_hidden_layers":1,"vocab_size":11,"tie_word_embeddings":true})");
  std::vector<TensorSpec> file = FileOf(config);
  file.push_back({"lm_head.weight", DType::kF32, {11, 8}});
  file.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", DType::kF32, {2}});
  const auto match = MatchTensors(config, file);
  ASSERT_TRUE(match.ok()) << match.status();
  EXPECT_EQ(match->file_name_of.at("lm_head.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(match->ignored.size(), 2u);
}

TEST(ModelTensors, WhatDoesNotFitIsNamed) {
  const ModelConfig config = SmallBert();
  std::vector<TensorSpec> file = FileOf(config);
  file[0].shape = {12, 8};
  EXPECT_EQ(MatchTensors(config, file).status().message(),
            "tensor: got bert.embeddings.word_embeddings.weight F32 [12,8], want "
            "bert.embeddings.word_embeddings.weight F32 [11,8]");
  file = FileOf(config);
  file[0].dtype = DType::kI8;
  EXPECT_EQ(MatchTensors(config, file).status().code(), absl::StatusCode::kUnimplemented);
  file = FileOf(config);
  file[0].name = "bert.embeddings.wrd_embeddings.weight";
  EXPECT_EQ(MatchTensors(config, file).status().message(),
            "tensors of a bert model: 1 missing: bert.embeddings.word_embeddings.weight; "
            "1 unexpected: bert.embeddings.wrd_embeddings.weight");
  file = FileOf(config);
  file.pop_back();  // classifier.bias: half a head
  EXPECT_EQ(MatchTensors(config, file).status().message(),
            "tensors of a bert model: 1 missing: classifier.bias");
  file = FileOf(config);
  file.push_back({"bert.embeddings.LayerNorm.gamma", DType::kF32, {8}});
  EXPECT_FALSE(MatchTensors(config, file).ok());
}

}  // namespace
}  // namespace rivulet
