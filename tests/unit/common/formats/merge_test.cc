#include "common/formats/merge.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "common/io/file.h"
#include "common/io/size_limit.h"
#include "tests/unit/common/formats/golden.h"
#include "tests/unit/in_child.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using nlohmann::json;

std::vector<float> Floats(const TensorView& tensor) {
  std::vector<float> values(tensor.spec.elements());
  CopyAsFloats(tensor, values);
  return values;
}

// merged.<name> of the golden file is PEFT's merge_and_unload.
TEST(MergeModel, GivesTheMatricesThatPeftGives) {
  const auto golden = GoldenFolder();
  const LoraAdapter adapter = *ReadPeftDirectory(golden / "adapters" / "llama_lora");
  const auto out = Scratch();
  const auto report = MergeModel(golden / "models" / "llama", adapter, {}, out, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->merged, 14u);
  EXPECT_EQ(report->largest_difference, 0);  // F32 in, F32 out
  const ModelFiles merged = *ModelFiles::Open(out);
  const SafetensorsFile want =
      *SafetensorsFile::Open(golden / "adapters" / "llama_lora" / "golden.safetensors");
  int compared = 0;
  for (const TensorView& tensor : want.view().tensors()) {
    if (!tensor.spec.name.starts_with("merged.model.")) continue;
    const std::vector<float> expected = Floats(tensor);
    const std::vector<float> got = Floats(*merged.Find(tensor.spec.name.substr(7)));
    // Values reach about 1: a few units of the last place of binary32.
    for (size_t cell = 0; cell < got.size(); ++cell) ASSERT_NEAR(got[cell], expected[cell], 1e-6);
    ++compared;
  }
  EXPECT_EQ(compared, 2);
  EXPECT_EQ(*ReadFile(out / "config.json", 1 << 16),
            *ReadFile(golden / "models" / "llama" / "config.json", 1 << 16));
  EXPECT_TRUE(std::filesystem::exists(out / "generation_config.json"));
}

TEST(MergeModel, ShardsHoldTheSameTensorsAsOneFile) {
  const auto golden = GoldenFolder();
  const LoraAdapter adapter = *ReadPeftDirectory(golden / "adapters" / "llama_lora");
  const auto out = Scratch();
  const auto whole = MergeModel(golden / "models" / "llama", adapter, {}, out / "whole", {});
  const auto sharded = MergeModel(golden / "models" / "llama", adapter, {}, out / "sharded", {},
                                  {.shard_bytes = 100'000});
  ASSERT_TRUE(whole.ok() && sharded.ok()) << sharded.status();
  EXPECT_GE(sharded->shards, 3u);
  const ModelFiles one = *ModelFiles::Open(out / "whole");
  const ModelFiles many = *ModelFiles::Open(out / "sharded");
  EXPECT_EQ(many.names()[0].substr(0, 15), "model-00001-of-");
  for (const TensorView* tensor : one.tensors())
    EXPECT_EQ(Floats(*tensor), Floats(*many.Find(tensor->spec.name)));
}

TEST(MergeModel, SixteenBitModelsStaySixteenBitAndTellTheRounding) {
  const auto golden = GoldenFolder();
  const LoraAdapter adapter = *ReadPeftDirectory(golden / "adapters" / "llama_lora");
  const auto out = Scratch();
  const auto report = MergeModel(golden / "models" / "llama_bf16", adapter, {}, out, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->largest_difference, 0);
  EXPECT_LT(report->largest_difference, 0x1p-8);  // half a step of bf16 below 2
  EXPECT_EQ(ModelFiles::Open(out)->Find("model.layers.0.mlp.up_proj.weight")->spec.dtype,
            DType::kBF16);
}

TEST(MergeModel, AnotherDTypeIsWrittenAndNamedInTheConfig) {
  const auto golden = GoldenFolder();
  const LoraAdapter adapter = *ReadPeftDirectory(golden / "adapters" / "llama_lora");
  const auto base = golden / "models" / "llama_bf16";
  const auto out = Scratch();
  const auto report = MergeModel(base, adapter, {}, out, {}, {.dtype = DType::kF32});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->merged, 14u);
  EXPECT_EQ(report->largest_difference, 0);  // binary32 holds W + dW as it was computed
  EXPECT_EQ(ReadModelConfig(out)->dtype, DType::kF32);
  const ModelFiles merged = *ModelFiles::Open(out);
  const ModelFiles files = *ModelFiles::Open(base);
  const TensorView* norm = merged.Find("model.norm.weight");
  EXPECT_EQ(norm->spec.dtype, DType::kF32);
  EXPECT_EQ(Floats(*norm), Floats(*files.Find("model.norm.weight")));
}

TEST(MergeModel, ANewHeadWithoutNamesGetsNumbers) {
  const auto golden = GoldenFolder();
  const LoraAdapter adapter = *ReadPeftDirectory(golden / "adapters" / "bert_lora");
  const auto base = Scratch() / "base", out = Scratch() / "out";
  std::filesystem::create_directories(base);
  for (const char* name : {"config.json", "model.safetensors"})
    std::filesystem::copy(golden / "models" / "bert" / name, base / name);
  json config = json::parse(*ReadFile(base / "config.json", 1 << 16));
  config["architectures"] = {"BertForMaskedLM"};
  config.erase("id2label");
  config.erase("label2id");
  ASSERT_TRUE(WriteFileAtomically(base / "config.json", config.dump()).ok());
  const auto report = MergeModel(base, adapter, {}, out, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(ReadModelConfig(out)->labels,
            (std::vector<std::string>{"LABEL_0", "LABEL_1", "LABEL_2"}));
}

TEST(MergeModel, ANewClassificationHeadChangesTheConfig) {
  const auto base = SharedFolder() / "models" / "bert-7m";
  RV_SKIP_WITHOUT(base);
  JobSpec job;
  job.data.task = "classification";
  job.data.labels = {"negative", "positive"};
  const JobModel model = *DescribeJobModel(base, *ModelFiles::Open(base), job);
  const LoraAdapter adapter = *LoraAdapterOf(model, job, *InitialState(model.plan, 42));
  const auto out = Scratch();
  const auto report = MergeModel(base, adapter, job.data.labels, out, {});
  ASSERT_TRUE(report.ok()) << report.status();
  const json config = json::parse(*ReadFile(out / "config.json", 1 << 16));
  EXPECT_EQ(config["architectures"][0], "BertForSequenceClassification");
  EXPECT_EQ(config["id2label"]["1"], "positive");
  EXPECT_EQ(config["hidden_size"], 256);
  const ModelFiles files = *ModelFiles::Open(out);
  EXPECT_NE(files.Find("classifier.weight"), nullptr);
  EXPECT_NE(files.Find("bert.pooler.dense.bias"), nullptr);
  EXPECT_EQ(files.Find("cls.predictions.bias"), nullptr);
  EXPECT_TRUE(std::filesystem::exists(out / "tokenizer.json"));
}

// llama_lora with a trained tensor more.
LoraAdapter Saving(const std::filesystem::path& golden, const TensorSpec& spec) {
  const LoraAdapter adapter = *ReadPeftDirectory(golden / "adapters" / "llama_lora");
  PeftLoraConfig config = adapter.config;
  config.modules_to_save = {"lm_head", "embed_tokens"};
  Manifest manifest = adapter.weights.manifest();
  manifest.push_back(spec);
  std::sort(manifest.begin(), manifest.end(),
            [](const TensorSpec& left, const TensorSpec& right) { return left.name < right.name; });
  ParameterSet weights(manifest);
  for (size_t row = 0; row < manifest.size(); ++row) {
    const int64_t from = adapter.weights.IndexOf(manifest[row].name);
    if (from < 0) continue;
    const std::span<const float> values = adapter.weights.floats(static_cast<size_t>(from));
    std::copy(values.begin(), values.end(), weights.floats(row).begin());
  }
  return *MakeLoraAdapter(std::move(config), std::move(weights));
}

TEST(MergeModel, ATrainedHeadDoesNotOverwriteTheEmbeddingItIsTiedTo) {
  const auto golden = GoldenFolder();
  const auto out = Scratch(), tied_base = out / "base";
  std::filesystem::create_directories(tied_base);
  const auto base = golden / "models" / "llama";
  std::filesystem::copy(base / "model.safetensors", tied_base / "model.safetensors");
  json config = json::parse(*ReadFile(base / "config.json", 1 << 16));
  config["tie_word_embeddings"] = true;
  ASSERT_TRUE(WriteFileAtomically(tied_base / "config.json", config.dump()).ok());
  for (const char* name : {"lm_head", "model.embed_tokens"}) {
    const LoraAdapter adapter = Saving(
        golden, {"base_model.model." + std::string(name) + ".weight", DType::kF32, {97, 64}});
    const auto tied = MergeModel(tied_base, adapter, {}, out / "tied", {});
    EXPECT_EQ(tied.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(tied.status().message(),
              "merge: got a trained '" + std::string(name) +
                  ".weight', which input and output of the base model share: merged, it would "
                  "change both");
    EXPECT_FALSE(std::filesystem::exists(out / "tied"));
    const auto own = MergeModel(base, adapter, {}, out / name, {});
    EXPECT_TRUE(own.ok()) << own.status();
  }
}

// Every number of a base model, moved.
WholeTensors Moved(const std::filesystem::path& base, JobSpec job) {
  job.method = "full";
  const ModelFiles files = *ModelFiles::Open(base);
  const JobModel model = *DescribeJobModel(base, files, job);
  WholeTensors tensors = {*InitialState(model.plan, 42, &files)};
  for (size_t row = 0; row < tensors.weights.size(); ++row) {
    for (float& value : tensors.weights.floats(row)) value += 0x1p-5f;
  }
  return tensors;
}

TEST(MergeWhole, TrainedTensorsTakeThePlaceOfTheBasesAndTheRestStays) {
  const auto golden = GoldenFolder();
  const auto base = golden / "models" / "llama";
  const ModelFiles files = *ModelFiles::Open(base);
  for (const std::vector<std::string>& modules :
       {std::vector<std::string>(), {"v_proj", "embed_tokens"}}) {
    JobSpec job;
    job.full.modules = modules;
    const WholeTensors trained = Moved(base, job);
    const auto out = Scratch() / std::to_string(modules.size());
    const auto report = MergeModel(base, trained, {}, out, {});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->replaced, trained.weights.size());
    EXPECT_EQ(report->merged, 0u);
    EXPECT_EQ(report->largest_difference, 0);
    const ModelFiles merged = *ModelFiles::Open(out);
    EXPECT_EQ(merged.specs(), files.specs());
    for (const TensorView* tensor : merged.tensors()) {
      const int64_t row = trained.weights.IndexOf(tensor->spec.name);
      std::vector<float> want = Floats(*files.Find(tensor->spec.name));
      if (row >= 0) {
        const std::span<const float> moved = trained.weights.floats(static_cast<size_t>(row));
        want.assign(moved.begin(), moved.end());
      }
      EXPECT_EQ(Floats(*tensor), want) << tensor->spec.name;
    }
    EXPECT_EQ(*ReadFile(out / "config.json", 1 << 16), *ReadFile(base / "config.json", 1 << 16));
  }
}

TEST(MergeWhole, AMatrixThatInputAndOutputShareChangesBoth) {
  const auto golden = GoldenFolder();
  const auto base = golden / "models" / "llama_tied";
  const WholeTensors trained = Moved(base, {});
  const auto out = Scratch();
  const auto report = MergeModel(base, trained, {}, out, {});
  ASSERT_TRUE(report.ok()) << report.status();
  const ModelFiles merged = *ModelFiles::Open(out);
  EXPECT_EQ(merged.Find("lm_head.weight"), nullptr);
  EXPECT_NE(Floats(*merged.Find("model.embed_tokens.weight")),
            Floats(*ModelFiles::Open(base)->Find("model.embed_tokens.weight")));
}

TEST(MergeWhole, SixteenBitBasesAreWrittenInSixteenBitsUnlessToldOtherwise) {
  const auto golden = GoldenFolder();
  const auto base = golden / "models" / "llama_bf16";
  const WholeTensors trained = Moved(base, {});
  const auto out = Scratch();
  const auto rounded = MergeModel(base, trained, {}, out / "rounded", {});
  const auto exact = MergeModel(base, trained, {}, out / "exact", {}, {.dtype = DType::kF32});
  ASSERT_TRUE(rounded.ok() && exact.ok()) << rounded.status() << exact.status();
  EXPECT_GT(rounded->largest_difference, 0);
  EXPECT_EQ(exact->largest_difference, 0);
  EXPECT_EQ(ReadModelConfig(out / "exact")->dtype, DType::kF32);
  EXPECT_EQ(ModelFiles::Open(out / "rounded")->Find("model.norm.weight")->spec.dtype, DType::kBF16);
}

TEST(MergeWhole, HeadsThatTheBaseLacksJoinWithTheirNames) {
  const auto base = SharedFolder() / "models" / "bert-7m";
  RV_SKIP_WITHOUT(base);
  JobSpec job;
  job.data.task = "classification";
  job.data.labels = {"negative", "positive"};
  const auto out = Scratch();
  const auto report = MergeModel(base, Moved(base, job), job.data.labels, out, {});
  ASSERT_TRUE(report.ok()) << report.status();
  const ModelConfig config = *ReadModelConfig(out);
  EXPECT_EQ(config.head, ModelHead::kSequenceClassification);
  EXPECT_EQ(config.labels, job.data.labels);
  const ModelFiles files = *ModelFiles::Open(out);
  EXPECT_NE(files.Find("classifier.weight"), nullptr);
  EXPECT_NE(files.Find("bert.pooler.dense.bias"), nullptr);
}

TEST(MergeWhole, TensorsOfAnotherModelAreRefused) {
  const auto golden = GoldenFolder();
  const auto message = [&](const TensorSpec& spec) {
    const WholeTensors trained = {ParameterSet({spec})};
    return std::string(MergeModel(golden / "models" / "llama_tied", trained, {}, Scratch(), {})
                           .status()
                           .message());
  };
  EXPECT_EQ(message({"model.norm.weight", DType::kF32, {3}}),
            "merge: got a trained model.norm.weight F32 [3], which this llama model has not");
  EXPECT_EQ(message({"lm_head.weight", DType::kF32, {97, 64}}),
            "merge: got a trained lm_head.weight F32 [97,64], which this llama model has not");
}

// A folder that holds a merged model already.
class MergeOverAModel : public testing::Test {
 protected:
  void SetUp() override {
    adapter_ = *ReadPeftDirectory(golden_ / "adapters" / "llama_lora");
    ASSERT_TRUE(Merge({}).ok());
  }
  absl::Status Merge(const MergeOptions& options) {
    return MergeModel(base_, adapter_, {}, out_, {}, options).status();
  }

  const std::filesystem::path golden_ = GoldenFolder();
  const std::filesystem::path base_ = golden_ / "models" / "llama";
  const std::filesystem::path out_ = Scratch();
  LoraAdapter adapter_;
};

TEST_F(MergeOverAModel, NeverOverwritesWithoutBeingTold) {
  EXPECT_EQ(Merge({}).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(Merge({.overwrite = true}).ok());
  EXPECT_EQ(MergeModel(base_, adapter_, {}, base_, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(MergeModel(golden_ / "models" / "bert", adapter_, {}, out_ / "b", {}).ok());
}

TEST_F(MergeOverAModel, AFailureLeavesTheModelThatWasThere) {
  const std::string before = *HashOfBaseModel(out_);
  EXPECT_EQ(InChild([&] {
              MakeSizeLimitAnError();
              const rlimit limit = {10'000, RLIM_INFINITY};
              setrlimit(RLIMIT_FSIZE, &limit);
              const absl::Status merged = Merge({.overwrite = true});
              return merged.code() == absl::StatusCode::kResourceExhausted ? 0 : 1;
            }),
            0);
  EXPECT_EQ(*HashOfBaseModel(out_), before);
  EXPECT_FALSE(std::filesystem::exists(out_ / ".merging"));
}

TEST_F(MergeOverAModel, WeightsOfTheOtherFormGo) {
  ASSERT_TRUE(Merge({.shard_bytes = 20'000, .overwrite = true}).ok());
  EXPECT_TRUE(std::filesystem::exists(out_ / "model.safetensors.index.json"));
  EXPECT_FALSE(std::filesystem::exists(out_ / "model.safetensors"));
  ASSERT_TRUE(Merge({.overwrite = true}).ok());
  EXPECT_FALSE(std::filesystem::exists(out_ / "model.safetensors.index.json"));
  EXPECT_TRUE(std::filesystem::exists(out_ / "model.safetensors"));
}

}  // namespace
}  // namespace rivulet
