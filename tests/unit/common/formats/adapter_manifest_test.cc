#include "common/formats/adapter_manifest.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/random.h"
#include "tests/unit/common/formats/described_folder.h"
#include "tests/unit/common/formats/golden.h"

namespace rivulet {
namespace {

JobSpec LoraJob(std::vector<std::string> targets = {}) {
  JobSpec job;
  job.lora.lora_r = 4;
  job.lora.lora_alpha = 8;
  job.lora.lora_target_modules = std::move(targets);
  return job;
}

// PEFT 0.21.2 wrote these: same keys, same shapes, same order.
TEST(AdapterPlan, ManifestsAreThoseThatPeftWrites) {
  const auto golden = GoldenFolder();
  JobSpec layers = LoraJob();
  layers.lora.layers_to_transform = {1};
  JobSpec bert = LoraJob();
  bert.data.task = "classification";
  const std::tuple<const char*, const char*, JobSpec> kCases[] = {
      {"llama_lora", "llama",
       LoraJob({"v_proj", "gate_proj", "down_proj", "q_proj", "o_proj", "up_proj", "k_proj"})},
      {"llama_lora_alllinear", "llama", LoraJob({"all-linear"})},
      {"llama_lora_regex", "llama", LoraJob({R"(regex:.*layers\.0\..*\.(q|v)_proj)"})},
      {"llama_lora_layers", "llama", layers},
      {"bert_lora", "bert", bert},
      {"llama_seqcls_lora", "llama_seqcls", bert},
  };
  for (const auto& [adapter, base, job] : kCases) {
    const Folder folder = Describe(golden / "models" / base, job);
    const Manifest want =
        ManifestOfFile(golden / "adapters" / adapter / "adapter_model.safetensors");
    EXPECT_TRUE(SameManifest(folder.model.plan.wire(), want).ok())
        << adapter << ": " << SameManifest(folder.model.plan.wire(), want);
  }
}

TEST(AdapterPlan, BottleneckNamesAreThoseOfAdapterHub) {
  const auto golden = GoldenFolder();
  for (const char* base : {"llama", "bert"}) {
    JobSpec job;
    job.method = "adapter";
    job.data.task = std::string(base) == "bert" ? "classification" : "causal-lm";
    Manifest got = Describe(golden / "models" / base, job).model.plan.full();
    std::erase_if(got, [](const TensorSpec& spec) { return spec.name.starts_with("classifier"); });
    Manifest want = ManifestOfFile(golden / "adapters" / (base + std::string("_seq_bn")) /
                                   "adapter.safetensors");
    for (TensorSpec& spec : want)
      spec.name.replace(spec.name.find(".tiny."), 6, "." + std::string(kAdapterName) + ".");
    EXPECT_TRUE(SameManifest(got, want).ok()) << SameManifest(got, want);
  }
}

// The bounds of a config allow far more than any machine has.
TEST(AdapterPlan, AStateOfTerabytesOrOfTooManyTensorsIsRefusedWithNeedAndLimit) {
  const auto plan_of = [](int64_t hidden, int heads, int layers) {
    const ModelConfig config = *ParseModelConfig(
        R"({"model_type":"llama","vocab_size":100,"hidden_size":)" + std::to_string(hidden) +
        R"(,"intermediate_size":)" + std::to_string(3 * hidden) + R"(,"num_attention_heads":)" +
        std::to_string(heads) + R"(,"num_hidden_layers":)" + std::to_string(layers) + "}");
    JobSpec job = LoraJob({"all-linear"});
    job.lora.lora_r = 1024;
    return PlanAdapter(config, {}, job).status();
  };
  EXPECT_TRUE(plan_of(64, 2, 2).ok());
  // Each of 100 layers: rank times 4 modules of 2 and 3 of 4 hidden sizes.
  const absl::Status large = plan_of(32768, 32, 100);
  EXPECT_EQ(large.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(large.message(), "trained state: needs " +
                                 std::to_string(int64_t{100} * 20 * 32768 * 1024 * 4) +
                                 " bytes, want at most 17179869184");
  // 7 modules of 2 tensors in each layer.
  EXPECT_EQ(plan_of(4, 2, 1000).message(), "trained state: needs 14000 tensors, want at most 4096");
}

// The head is no low-rank map here: factors on it would be trained by nobody.
TEST(AdapterPlan, TheOutputHeadIsNoTargetUnlessItIsTrainedWhole) {
  const ModelConfig config = *ForTask(
      *ParseModelConfig(
          R"({"model_type":"llama","vocab_size":100,"hidden_size":64,"intermediate_size":96,)"
          R"("num_attention_heads":2,"num_hidden_layers":2})"),
      "causal-lm", {});
  for (const char* target : {"lm_head", "regex:lm_head|.*q_proj"}) {
    JobSpec job = LoraJob({target});
    const absl::Status refused = PlanAdapter(config, {}, job).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << target;
    EXPECT_EQ(refused.message(),
              "lora.lora-target-modules: got 'lm_head', which is the output head; want it in "
              "lora.modules-to-save, trained whole");
  }
  JobSpec job = LoraJob({"lm_head", "q_proj"});
  job.lora.modules_to_save = {"lm_head"};
  const auto plan = PlanAdapter(config, {}, job);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->lora.size(), 2u);
  EXPECT_EQ(plan->saved_modules, (std::vector<std::string>{"lm_head"}));
}

TEST(AdapterPlan, MissingPoolerAndClassifierAreTrainedWhole) {
  const auto base = SharedFolder() / "models" / "bert-7m";
  RV_SKIP_WITHOUT(base);
  JobSpec job = LoraJob({"all-linear"});
  job.data.task = "classification";
  job.data.labels = {"no", "yes"};
  const Folder folder = Describe(base, job);
  const AdapterPlan& plan = folder.model.plan;
  EXPECT_EQ(plan.saved_modules, (std::vector<std::string>{"bert.pooler.dense", "classifier"}));
  EXPECT_EQ(plan.lora.size(), 36u);  // 6 layers of 6; the pooler is not adapted a second time
  const auto state = InitialState(plan, 42, nullptr);
  ASSERT_TRUE(state.ok()) << state.status();
  const auto row = state->IndexOf("base_model.model.bert.pooler.dense.weight");
  ASSERT_GE(row, 0);
  double square = 0;
  for (float value : state->floats(row)) square += double(value) * value;
  // 65,536 draws of N(0, 0.02^2): the deviation of the mean square is 0.55 %; 5 % is 9 sigma.
  EXPECT_NEAR(square / 65536 / 0.0004, 1, 0.05);
  for (float value : state->floats(state->IndexOf("base_model.model.classifier.bias")))
    EXPECT_EQ(value, 0);
}

TEST(InitialState, FactorAIsUniformAndAddressedByPosition) {
  const auto base = GoldenFolder() / "models" / "llama";
  const AdapterPlan plan = Describe(base, LoraJob()).model.plan;
  const ParameterSet state = *InitialState(plan, 7);
  ASSERT_EQ(state.size(), 8u);
  std::vector<float> uniform(4 * 64);
  RandomStream(7, Purpose::kInitialValues, 0).FillUniform(2, uniform);
  ASSERT_TRUE(state.manifest()[2].name.ends_with("v_proj.lora_A.weight"));
  for (size_t row = 0; row < uniform.size(); ++row)
    EXPECT_EQ(state.floats(2)[row], uniform[row] / 8);  // 1 / sqrt(64)
  for (float value : state.floats(3)) EXPECT_EQ(value, 0);
  EXPECT_NE(InitialState(plan, 8)->HashHex(), state.HashHex());
}

TEST(InitialState, FrozenFactorsStayOffTheWireAndComeBackTheSame) {
  const auto base = GoldenFolder() / "models" / "llama";
  JobSpec job = LoraJob({"all-linear"});
  const AdapterPlan plain = Describe(base, job).model.plan;
  job.strategy.aggregation = "freeze-a";
  const AdapterPlan frozen = Describe(base, job).model.plan;
  EXPECT_EQ(frozen.wire().size(), plain.wire().size() / 2);
  for (const TensorSpec& spec : frozen.wire()) EXPECT_TRUE(spec.name.ends_with("lora_B.weight"));
  EXPECT_EQ(frozen.full(), plain.full());
  ParameterSet wire = *InitialState(frozen, 42);
  EXPECT_EQ(CompleteState(frozen, 42, wire)->HashHex(), InitialState(plain, 42)->HashHex());
  wire.floats(0)[0] = 3;
  const ParameterSet full = *CompleteState(frozen, 42, wire);
  EXPECT_EQ(full.floats(full.IndexOf(wire.manifest()[0].name))[0], 3);
  EXPECT_FALSE(CompleteState(frozen, 42, ParameterSet(plain.wire())).ok());
}

TEST(InitialState, AHeadOfTheBaseModelIsTheStart) {
  const auto base = GoldenFolder() / "models" / "bert";
  JobSpec job = LoraJob();
  job.data.task = "classification";
  const Folder folder = Describe(base, job);
  const ParameterSet state = *InitialState(folder.model.plan, 42, &folder.files);
  const auto got = state.bytes(state.IndexOf("base_model.model.classifier.weight"));
  const auto want = folder.files.Find("classifier.weight")->bytes;
  EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin(), want.end()));
  EXPECT_EQ(InitialState(folder.model.plan, 42).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(InitialState, ABottleneckAdapterStartsAsTheIdentity) {
  const auto base = GoldenFolder() / "models" / "llama";
  JobSpec job;
  job.method = "adapter";
  job.adapter.leave_out = {0};
  const AdapterPlan plan = Describe(base, job).model.plan;
  ASSERT_EQ(plan.sites.size(), 1u);
  EXPECT_EQ(plan.sites[0].bottleneck, 4);
  const ParameterSet state = *InitialState(plan, 42);
  for (size_t row = 0; row < state.size(); ++row) {
    const bool down = state.manifest()[row].name.ends_with("adapter_down.0.weight");
    for (float value : state.floats(row)) EXPECT_EQ(value != 0, down);
  }
}

JobSpec FullJob(std::vector<std::string> modules = {}) {
  JobSpec job;
  job.method = "full";
  job.full.modules = std::move(modules);
  return job;
}

std::vector<std::string> NamesOf(const Manifest& manifest) {
  std::vector<std::string> names;
  for (const TensorSpec& spec : manifest) names.push_back(spec.name);
  return names;
}

TEST(WholeModel, EveryTensorOfTheBaseIsTrainedFromItsOwnValues) {
  const auto golden = GoldenFolder();
  for (const char* base : {"llama", "llama_tied", "llama_bf16", "bert"}) {
    JobSpec job = FullJob();
    if (std::string(base) == "bert") job.data.task = "classification";
    const Folder folder = Describe(golden / "models" / base, job);
    const AdapterPlan& plan = folder.model.plan;
    EXPECT_EQ(plan.wire(), plan.from_base()) << base;
    EXPECT_EQ(plan.wire(), plan.full()) << base;
    const ParameterSet state = *InitialState(plan, 42, &folder.files);
    size_t numbers = 0;
    for (size_t row = 0; row < state.size(); ++row) {
      const TensorView* view = folder.files.Find(state.manifest()[row].name);
      ASSERT_NE(view, nullptr) << state.manifest()[row].name;
      std::vector<float> want(state.floats(row).size());
      CopyAsFloats(*view, want);
      EXPECT_TRUE(std::equal(want.begin(), want.end(), state.floats(row).begin()));
      numbers += want.size();
    }
    size_t in_files = 0;
    for (const TensorSpec& spec : folder.files.specs()) {
      in_files += static_cast<size_t>(spec.elements());
    }
    EXPECT_EQ(numbers, in_files) << base;
    EXPECT_EQ(state.IndexOf("lm_head.weight") >= 0,
              base == std::string("llama") || base == std::string("llama_bf16"));
  }
}

TEST(WholeModel, HeadsThatTheBaseLacksAreDrawn) {
  const auto base = SharedFolder() / "models" / "bert-7m";
  RV_SKIP_WITHOUT(base);
  JobSpec job = FullJob({"layer.5"});
  job.data.task = "classification";
  job.data.labels = {"no", "yes"};
  const Folder folder = Describe(base, job);
  const AdapterPlan& plan = folder.model.plan;
  EXPECT_EQ(plan.wire().size(), 16u + 4u);  // of the layer, of pooler and classifier
  EXPECT_EQ(plan.from_base().size(), 16u);
  for (const TensorSpec& spec : plan.from_base())
    EXPECT_TRUE(spec.name.starts_with("bert.encoder.layer.5.")) << spec.name;
  const ParameterSet state = *InitialState(plan, 42, &folder.files);
  const std::span<const float> drawn = state.floats(state.IndexOf("classifier.weight"));
  EXPECT_TRUE(std::any_of(drawn.begin(), drawn.end(), [](float value) { return value != 0; }));
  job.full.modules.clear();
  EXPECT_EQ(Describe(base, job).model.plan.wire().size(), 5u + 6u * 16 + 4);
}

TEST(WholeModel, ModulesAreChosenByPartsOfTheirPaths) {
  const ModelConfig config = *ForTask(
      *ParseModelConfig(
          R"({"model_type":"llama","vocab_size":100,"hidden_size":64,"intermediate_size":96,)"
          R"("num_attention_heads":2,"num_hidden_layers":12,"tie_word_embeddings":true})"),
      "causal-lm", {});
  const auto names = [&](std::vector<std::string> modules) {
    return NamesOf(PlanAdapter(config, {}, FullJob(std::move(modules)))->wire());
  };
  EXPECT_EQ(names({"norm"}), (std::vector<std::string>{"model.norm.weight"}));
  EXPECT_EQ(names({"q_proj"}).size(), 12u);
  EXPECT_EQ(names({"layers.1"}).size(), 9u);  // not those of 10 and 11
  EXPECT_EQ(names({"layers.1", "q_proj"}).size(), 9u + 11u);
  EXPECT_EQ(names({"model.layers.1.mlp.up_proj"}),
            (std::vector<std::string>{"model.layers.1.mlp.up_proj.weight"}));
  EXPECT_EQ(names({}).size(), 12u * 9 + 2);
  const auto message = [&](std::vector<std::string> modules) {
    return std::string(PlanAdapter(config, {}, FullJob(std::move(modules))).status().message());
  };
  const std::string want = "want the path of a module of this model or a part of it";
  const std::string tied = "; lm_head is tied to model.embed_tokens";
  EXPECT_EQ(message({"q_proj", "proj"}), "full.modules: got 'proj', " + want + tied);
  EXPECT_EQ(message({"lm_head"}), "full.modules: got 'lm_head', " + want + tied);
}

TEST(AdapterPlan, ImpossibleSectionsAreRefusedWithTheKey) {
  const ModelConfig config = *ParseModelConfig(R"({"model_type":"llama"})");
  const auto message = [&](const JobSpec& job) {
    return std::string(PlanAdapter(config, {}, job).status().message());
  };
  JobSpec job = LoraJob();
  job.lora.lora_r = 0;
  EXPECT_EQ(message(job), "lora.lora-r: got 0, want 1..1024");
  job = LoraJob();
  job.lora.layers_to_transform = {32};
  EXPECT_EQ(message(job), "lora.layers-to-transform: got 32, want 0..31");
  job = LoraJob();
  job.lora.modules_to_save = {"embed_tokens"};
  EXPECT_EQ(message(job),
            "lora.modules-to-save: got 'embed_tokens', want the name of a Linear of this model");
  job.method = "adapter";
  job.adapter.leave_out = {99};
  EXPECT_EQ(message(job), "adapter.leave-out: got 99, want 0..31");
  job = PromptJob();
  job.prompt.num_virtual_tokens = 2048;
  EXPECT_EQ(message(job),
            "prompt.num-virtual-tokens: got 2048, want 1..2047: the model reads 2048 positions");
  job = PromptJob();
  job.prompt.subspace = 5 * 4096 + 1;
  EXPECT_EQ(message(job), "prompt.subspace: got 20481, want 0..20480, the numbers of the prompt");
  job.prompt.subspace = 5 * 4096;
  EXPECT_EQ(message(job),
            "prompt.subspace: got 20480 for a prompt of 20480 numbers, want a product "
            "of at most 268435456");
}

}  // namespace
}  // namespace rivulet
