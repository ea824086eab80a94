// Adapters against the reference's logits (shared/golden/adapters). Bound 5e-5, as for models.
#include "tests/unit/peft/golden.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "common/formats/lora_adapter.h"
#include "common/formats/prompt_adapter.h"
#include "peft/method/method.h"

namespace rivulet {
namespace {

using testing::Golden;

// Sets joined and sorted by name.
ParameterSet Joined(const std::vector<ParameterSet>& parts) {
  Manifest manifest;
  for (const ParameterSet& part : parts) {
    manifest.insert(manifest.end(), part.manifest().begin(), part.manifest().end());
  }
  std::sort(manifest.begin(), manifest.end(),
            [](const TensorSpec& a, const TensorSpec& b) { return a.name < b.name; });
  ParameterSet all(manifest);
  for (const ParameterSet& part : parts) {
    for (size_t i = 0; i < part.size(); ++i) {
      const auto from = part.floats(i);
      std::copy(from.begin(), from.end(), all.floats(all.IndexOf(part.manifest()[i].name)).begin());
    }
  }
  return all;
}

std::vector<at::Tensor> TensorsOf(const ParameterSet& set) {
  std::vector<at::Tensor> tensors;
  for (size_t i = 0; i < set.size(); ++i) {
    tensors.push_back(at::empty(set.manifest()[i].shape, at::kFloat));
    std::copy(set.floats(i).begin(), set.floats(i).end(), tensors.back().data_ptr<float>());
  }
  return tensors;
}

class AdapterGolden : public ::testing::TestWithParam<std::string> {
 protected:
  static ParameterSet Read(const std::filesystem::path& path) {
    auto set = ReadParameterSetFile(path);
    EXPECT_TRUE(set.ok()) << set.status();
    return set.ok() ? std::move(*set) : ParameterSet();
  }

  void Load(const std::filesystem::path& folder) {
    const auto config = nlohmann::json::parse(std::ifstream(folder / "adapter_config.json"));
    absl::StatusOr<std::unique_ptr<Method>> method;
    if (config.value("peft_type", "") == "PROMPT_TUNING") {
      const auto file = ReadPromptDirectory(folder);
      ASSERT_TRUE(file.ok()) << file.status();
      state_ = file->weights;
      method = MakePrompt(state_.manifest(), {}, 1);
    } else if (config.contains("peft_type")) {
      // Ranks and alphas by module become one rank here, as for `rivulet model`.
      const auto file = ReadPeftDirectory(folder);
      ASSERT_TRUE(file.ok()) << file.status();
      auto adapter = WithUniformRank(*file);
      ASSERT_TRUE(adapter.ok()) << adapter.status();
      state_ = std::move(adapter->weights);
      LoraSettings settings;
      settings.alpha = adapter->config.alpha;
      settings.use_rslora = adapter->config.use_rslora;
      method = MakeLora(state_.manifest(), std::move(settings));
    } else {
      state_ =
          Joined({Read(folder / "adapter.safetensors"), Read(folder / "model_head.safetensors")});
      method = MakeSeqBn(state_.manifest(), config["config"]["non_linearity"].get<std::string>());
    }
    ASSERT_TRUE(method.ok()) << method.status();
    method_ = std::move(*method);
  }

  ParameterSet state_;
  std::unique_ptr<Method> method_;
};

TEST_P(AdapterGolden, LogitsEqualTheReference) {
  const auto golden = testing::GoldenFolder();
  const bool bert = GetParam().starts_with("bert");
  const Task task = bert ? Task::kClassification : Task::kCausalLm;
  const auto base = BaseModel::Load(golden / "models" / (bert ? "bert" : "llama"),
                                    {bert ? "classification" : "causal-lm", {}});
  ASSERT_TRUE(base.ok()) << base.status();
  Load(golden / "adapters" / GetParam());
  ASSERT_TRUE(method_);
  const Golden inputs(golden / "models" / (bert ? "bert" : "llama") / "golden.safetensors");
  const Golden want(golden / "adapters" / GetParam() / "golden.safetensors");

  const at::NoGradGuard no_grad;
  const auto network = MakeNetwork(*base);
  const Adaptation adaptation = method_->Bind(TensorsOf(state_));
  kernels::Workspace workspace;
  Pass pass = {&workspace, std::nullopt, false};
  const auto types = [&](const std::string& name) {
    return inputs.Has(name) ? inputs[name] : at::Tensor();
  };
  const Batch plain = testing::BatchOf(
      testing::ExamplesOf(inputs["input_ids"], {}, inputs["labels"], types("token_type_ids")), task,
      (*base)->config());
  EXPECT_LE(testing::LargestDifference(testing::LogitsOf(*network, plain, task, adaptation, pass),
                                       want["logits"]),
            5e-5);
  const Batch padded = testing::BatchOf(
      testing::ExamplesOf(inputs["padded.input_ids"], inputs["padded.attention_mask"],
                          inputs["padded.labels"], types("padded.token_type_ids")),
      task, (*base)->config());
  EXPECT_LE(testing::LargestDifference(testing::LogitsOf(*network, padded, task, adaptation, pass),
                                       want["padded.logits"], inputs["padded.attention_mask"]),
            5e-5);
}

INSTANTIATE_TEST_SUITE_P(All, AdapterGolden,
                         ::testing::Values("llama_lora", "llama_lora_alllinear", "llama_lora_regex",
                                           "llama_lora_layers", "llama_lora_pattern", "bert_lora",
                                           "llama_seq_bn", "bert_seq_bn", "bert_seq_bn_gelu",
                                           "llama_prompt", "bert_prompt"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace rivulet
