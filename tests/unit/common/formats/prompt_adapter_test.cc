#include "common/formats/prompt_adapter.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "common/formats/adapter_directory.h"
#include "common/io/file.h"
#include "tests/unit/common/formats/golden.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using nlohmann::json;

// PEFT 0.21.2 wrote these: every byte of the tensors comes back, and every field of the config but
// the version, which is that of the oldest reader, and the pair of heads, which it lists twice.
TEST(PromptAdapter, RoundTripKeepsWhatPeftWrote) {
  const auto golden = GoldenFolder() / "adapters";
  for (const char* name : {"llama_prompt", "bert_prompt"}) {
    const auto adapter = ReadPromptDirectory(golden / name);
    ASSERT_TRUE(adapter.ok()) << adapter.status();
    const auto out = Scratch();
    ASSERT_TRUE(WritePromptDirectory(out, *adapter).ok());
    EXPECT_EQ(*ReadFile(out / "adapter_model.safetensors", 1 << 20),
              *ReadFile(golden / name / "adapter_model.safetensors", 1 << 20));
    json got = json::parse(*ReadFile(out / "adapter_config.json", 1 << 20));
    json want = json::parse(*ReadFile(golden / name / "adapter_config.json", 1 << 20));
    got.erase("peft_version");
    want.erase("peft_version");
    if (want["modules_to_save"].is_array()) want["modules_to_save"] = {"classifier", "score"};
    EXPECT_EQ(got, want) << name;
  }
}

TEST(PromptAdapter, AJobsPromptIsWrittenInPeftForm) {
  JobSpec job;
  job.method = "prompt";
  job.model.name = "models/bert";
  job.prompt.num_virtual_tokens = 5;
  job.data.task = "classification";
  const auto folder = GoldenFolder() / "models" / "bert";
  const ModelFiles files = *ModelFiles::Open(folder);
  const JobModel model = *DescribeJobModel(folder, files, job);
  ParameterSet state = *InitialState(model.plan, 42, &files);
  state.floats(2)[7] = 0.25f;
  const auto out = Scratch();
  const auto report = WriteAdapterDirectory(out, model, job, state, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->profile, "peft");
  const AnyAdapter read = *ReadAdapterDirectory(out);
  ASSERT_TRUE(std::holds_alternative<PromptAdapter>(read));
  const PromptAdapter& adapter = std::get<PromptAdapter>(read);
  EXPECT_EQ(adapter.weights.HashHex(), state.HashHex());
  EXPECT_EQ(adapter.config, ReadPromptDirectory(GoldenFolder() / "adapters/bert_prompt")->config);
  EXPECT_EQ(HeadClasses(adapter), 3);
  EXPECT_EQ(ExportAdapter(Scratch(), read, "portable").status().message(),
            "profile: got 'portable' for method prompt, want peft");
}

TEST(PromptAdapter, WhatDoesNotFitIsRefusedByName) {
  PeftPromptConfig config;
  config.task_type = "CAUSAL_LM";
  config.num_virtual_tokens = 2;
  config.token_dim = 4;
  const auto message = [&](Manifest manifest) {
    return std::string(
        MakePromptAdapter(config, ParameterSet(std::move(manifest))).status().message());
  };
  EXPECT_EQ(message({{"prompt_embeddings", DType::kF32, {2, 4}}}), "");
  EXPECT_EQ(message({{"prompt_embeddings", DType::kF32, {4, 2}}}),
            "adapter: got prompt_embeddings F32 [4,2], want [2,4] (num_virtual_tokens, token_dim)");
  EXPECT_EQ(message({}), "adapter: got no prompt_embeddings, want it");
  EXPECT_EQ(
      message({{"prompt_embeddings", DType::kF32, {2, 4}}, {"score.weight", DType::kF32, {2}}}),
      "adapter key: got 'score.weight', want prompt_embeddings or base_model....");
  EXPECT_EQ(message({{"prompt_embeddings", DType::kI32, {2, 4}}}),
            "adapter tensor: got prompt_embeddings I32 [2,4], want F32, BF16 or F16");

  json document = json::parse(PeftPromptConfigText(config));
  const auto error = [&](const char* key, const json& value) {
    json changed = document;
    changed[key] = value;
    return std::string(ParsePeftPromptConfig(changed.dump()).status().message());
  };
  EXPECT_EQ(*ParsePeftPromptConfig(document.dump()), config);
  EXPECT_NE(error("peft_type", "P_TUNING").find("want PROMPT_TUNING"), std::string::npos);
  EXPECT_NE(error("num_transformer_submodules", 2).find("got 2, want 1"), std::string::npos);
  EXPECT_NE(error("task_type", "SEQ_2_SEQ_LM").find("want CAUSAL_LM or SEQ_CLS"),
            std::string::npos);
  EXPECT_NE(error("num_virtual_tokens", 0), "");
}

}  // namespace
}  // namespace rivulet
