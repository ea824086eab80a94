#include "common/formats/adapter_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "common/io/file.h"
#include "tests/unit/common/formats/golden.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using nlohmann::json;

JobModel ModelOf(const std::string& base, const JobSpec& job) {
  const auto folder = GoldenFolder() / "models" / base;
  return *DescribeJobModel(folder, *ModelFiles::Open(folder), job);
}

// AdapterHub 1.2.0 wrote these.
TEST(AdapterHub, RoundTripKeepsEveryByteOfTheReference) {
  const auto golden = GoldenFolder() / "adapters";
  for (const char* name : {"llama_seq_bn", "bert_seq_bn"}) {
    const auto adapter = ReadAdapterHubDirectory(golden / name);
    ASSERT_TRUE(adapter.ok()) << name << adapter.status();
    const auto out = Scratch();
    ASSERT_TRUE(WriteAdapterHubDirectory(out, *adapter).ok());
    for (const char* file : {"adapter.safetensors", "adapter_config.json", "head_config.json",
                             "model_head.safetensors"})
      EXPECT_EQ(*ReadFile(out / file, 1 << 20), *ReadFile(golden / name / file, 1 << 20))
          << name << "/" << file;
  }
}

TEST(AdapterHub, OtherPresetsAreRefusedByTheFieldThatDiffers) {
  const auto golden = GoldenFolder() / "adapters";
  for (const char* name : {"llama_double_seq_bn", "llama_par_bn"}) {
    EXPECT_EQ(ReadAdapterHubDirectory(golden / name).status().code(),
              absl::StatusCode::kUnimplemented)
        << name;
  }
  json config = json::parse(*ReadFile(golden / "llama_seq_bn" / "adapter_config.json", 1 << 20));
  config.erase("version");
  EXPECT_FALSE(ParseAdapterHubConfig(config.dump()).ok());
  config["version"] = "adapters.1.2.0";
  EXPECT_TRUE(ParseAdapterHubConfig(config.dump()).ok());
  config["config"]["use_gating"] = true;
  EXPECT_EQ(ParseAdapterHubConfig(config.dump()).status().message(),
            "config.use_gating: got true, want false (seq_bn)");
}

TEST(AdapterHub, RenamingChangesKeysOnly) {
  const auto golden = GoldenFolder() / "adapters" / "llama_seq_bn";
  const BottleneckAdapter tiny = *ReadAdapterHubDirectory(golden);
  const BottleneckAdapter other = Renamed(tiny, "zebra");
  EXPECT_TRUE(other.weights.manifest()[0].name.find(".adapters.zebra.adapter_") !=
              std::string::npos);
  EXPECT_EQ(Renamed(other, "tiny").weights.HashHex(), tiny.weights.HashHex());
}

TEST(AdapterDirectory, AJobsLoraIsWrittenInPeftForm) {
  JobSpec job;
  job.model.name = "llama";
  job.lora.lora_target_modules = {"all-linear"};
  job.strategy.aggregation = "freeze-a";
  const JobModel model = ModelOf("llama", job);
  ParameterSet state = *InitialState(model.plan, job.job.seed);
  state.floats(3)[5] = 0.5f;
  const auto out = Scratch();
  const auto report =
      WriteAdapterDirectory(out, model, job, state, {.job = "j", .round = 10, .software = "s"});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->profile, "peft");
  EXPECT_EQ(report->rank, 8);
  EXPECT_EQ(report->largest_difference, 0);
  const LoraAdapter adapter = *ReadPeftDirectory(out);
  EXPECT_EQ(adapter.weights.manifest(), model.plan.full());  // frozen factors are back
  EXPECT_EQ(adapter.config.target_modules,
            (std::vector<std::string>{"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj",
                                      "up_proj", "v_proj"}));
  const json provenance = json::parse(*ReadFile(out / "rivulet_provenance.json", 1 << 16));
  EXPECT_EQ(provenance["adapter_hash"], state.HashHex());
  EXPECT_EQ(provenance["round"], 10);
  EXPECT_TRUE(provenance["epsilon"].is_null());
}

// bert's "dense" would also select the pooler, which is trained whole: then paths are written.
TEST(AdapterDirectory, ShortNamesAreUsedOnlyWhereTheySelectTheSame) {
  JobSpec job;
  job.data.task = "classification";
  job.lora.lora_target_modules = {"output.dense"};
  const JobModel model = ModelOf("bert", job);
  const LoraAdapter adapter = *LoraAdapterOf(model, job, ParameterSet(model.plan.full()));
  EXPECT_EQ(adapter.config.target_modules.size(), 4u);
  EXPECT_EQ(adapter.config.target_modules[0], "bert.encoder.layer.0.attention.output.dense");
  EXPECT_EQ(adapter.config.modules_to_save, (std::vector<std::string>{"classifier", "score"}));
  EXPECT_EQ(adapter.config.task_type, "SEQ_CLS");
}

TEST(AdapterDirectory, AJobsBottleneckAdapterIsWrittenInAdapterHubForm) {
  JobSpec job;
  job.method = "adapter";
  job.data.task = "classification";
  job.model.name = "models/bert";
  const JobModel model = ModelOf("bert", job);
  const auto folder = GoldenFolder() / "models" / "bert";
  const ModelFiles files = *ModelFiles::Open(folder);
  const ParameterSet state = *InitialState(model.plan, 42, &files);
  const auto out = Scratch();
  const auto report = WriteAdapterDirectory(out, model, job, state, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->profile, "adapterhub");
  const BottleneckAdapter adapter = *ReadAdapterHubDirectory(out);
  EXPECT_EQ(adapter.head.manifest()[1].name, "classifier.weight");
  json got = json::parse(*ReadFile(out / "adapter_config.json", 1 << 16));
  json want = json::parse(
      *ReadFile(GoldenFolder() / "adapters" / "bert_seq_bn" / "adapter_config.json", 1 << 16));
  want["name"] = kAdapterName;
  EXPECT_EQ(got, want);
}

TEST(AdapterDirectory, AProfileThatDoesNotFitTheMethodIsRefused) {
  JobSpec job;
  const JobModel model = ModelOf("llama", job);
  const ParameterSet state(model.plan.wire());
  EXPECT_EQ(
      WriteAdapterDirectory(Scratch(), model, job, state, {}, "adapterhub").status().message(),
      "profile: got 'adapterhub' for method lora, want peft or portable");
  EXPECT_FALSE(WriteAdapterDirectory(Scratch(), model, job, ParameterSet(), {}).ok());
  EXPECT_FALSE(std::filesystem::exists(Scratch()));
  EXPECT_TRUE(WriteAdapterDirectory(Scratch(), model, job, state, {}, "portable").ok());
}

// What is trained of a model is no model: the file does not have the name that readers look for.
TEST(AdapterDirectory, TensorsOfTheBaseAreWrittenByTheirOwnNames) {
  JobSpec job;
  job.method = "full";
  job.full.modules = {"norm", "layers.0.mlp"};
  const auto base = GoldenFolder() / "models" / "llama";
  const JobModel model = ModelOf("llama", job);
  const ModelFiles files = *ModelFiles::Open(base);
  const ParameterSet state = *InitialState(model.plan, 42, &files);
  const auto out = Scratch();
  const auto report = WriteAdapterDirectory(out, model, job, state, {.job = "j"});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->profile, "tensors");
  EXPECT_TRUE(std::filesystem::exists(out / "trained_tensors.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(out / "rivulet_provenance.json"));
  EXPECT_FALSE(std::filesystem::exists(out / "model.safetensors"));
  const AnyAdapter again = *ReadAdapterDirectory(out);
  EXPECT_EQ(std::get<WholeTensors>(again).weights.HashHex(), state.HashHex());
  EXPECT_TRUE(ExportAdapter(Scratch(), again).ok());
  EXPECT_EQ(ExportAdapter(Scratch(), again, "peft").status().message(),
            "profile: got 'peft' for method full, want tensors");
}

TEST(AdapterDirectory, TensorsThatNoModuleCanHaveAreRefused) {
  const auto out = Scratch();
  const auto message = [&](const TensorSpec& spec) {
    EXPECT_TRUE(WriteWholeDirectory(out, {ParameterSet({spec})}).ok());
    return std::string(ReadAdapterDirectory(out).status().message());
  };
  const std::string want = ", want a weight or bias of a module, F32, of at least one dimension";
  EXPECT_THAT(message({"weight", DType::kF32, {2}}), testing::HasSubstr("weight F32 [2]" + want));
  EXPECT_THAT(message({"a.weight", DType::kF32, {}}), testing::EndsWith(want));
  EXPECT_THAT(message({"a.weight", DType::kBF16, {2}}), testing::EndsWith(want));
  EXPECT_TRUE(WriteWholeDirectory(out, {}).ok());
  EXPECT_THAT(std::string(ReadAdapterDirectory(out).status().message()),
              testing::EndsWith("got no tensor, want at least 1"));
}

TEST(ReadAdapterDirectory, TellsTheTwoFormsApart) {
  const auto golden = GoldenFolder() / "adapters";
  EXPECT_TRUE(std::holds_alternative<LoraAdapter>(*ReadAdapterDirectory(golden / "llama_lora")));
  EXPECT_TRUE(
      std::holds_alternative<BottleneckAdapter>(*ReadAdapterDirectory(golden / "bert_seq_bn")));
  EXPECT_THAT(std::string(ReadAdapterDirectory("/nonexistent").status().message()),
              testing::StartsWith("/nonexistent: no adapter_config.json, want the folder of"));
}

TEST(ExportAdapter, WritesWhatItReadAndRefusesAProfileOfTheOtherMethod) {
  const auto golden = GoldenFolder() / "adapters";
  const AnyAdapter bottleneck = *ReadAdapterDirectory(golden / "bert_seq_bn");
  const auto out = Scratch();
  ASSERT_TRUE(ExportAdapter(out, bottleneck).ok());
  for (const char* file : {"adapter.safetensors", "model_head.safetensors", "head_config.json"})
    EXPECT_EQ(*ReadFile(out / file, 1 << 20), *ReadFile(golden / "bert_seq_bn" / file, 1 << 20));
  EXPECT_EQ(ExportAdapter(out, bottleneck, "peft").status().message(),
            "profile: got 'peft' for method adapter, want adapterhub");
  const auto lora =
      ExportAdapter(Scratch(), *ReadAdapterDirectory(golden / "llama_lora_pattern"), "portable");
  ASSERT_TRUE(lora.ok()) << lora.status();
  EXPECT_EQ(lora->rank, 4);
  EXPECT_LT(lora->largest_difference, 1e-6);  // see WithUniformRank.LeavesDeltaAsItWas
}

}  // namespace
}  // namespace rivulet
