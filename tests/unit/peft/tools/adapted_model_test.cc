// What generate and evaluate compute for an adapter folder, against the reference's losses and
// logits (shared/golden/adapters).
#include "peft/tools/adapted_model.h"

#include <gmock/gmock.h>

#include "common/formats/float_cast.h"
#include "common/formats/lora_adapter.h"
#include "common/formats/merge.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/trainer/text_generator.h"
#include "tests/unit/peft/golden.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using testing::Golden;
using ::testing::HasSubstr;

std::filesystem::path Models() { return testing::GoldenFolder() / "models"; }
std::filesystem::path Adapters() { return testing::GoldenFolder() / "adapters"; }

double MeanLoss(const AdaptedModel& model, const std::vector<Example>& examples) {
  const auto tuner = MakeFirstOrderTuner(model.base, model.job);
  EXPECT_TRUE(tuner.ok()) << tuner.status();
  if (!tuner.ok()) return -1;
  const auto sums = (*tuner)->Evaluate(model.state, examples);
  EXPECT_TRUE(sums.ok()) << sums.status();
  return sums.ok() ? sums->loss / static_cast<double>(sums->counted) : -1;
}

std::vector<Example> GoldenExamples(const std::string& model) {
  const Golden inputs(Models() / model / "golden.safetensors");
  const at::Tensor types = inputs.Has("token_type_ids") ? inputs["token_type_ids"] : at::Tensor();
  return testing::ExamplesOf(inputs["input_ids"], {}, inputs["labels"], types);
}

// The golden loss; AdapterHub's files have logits alone.
double GoldenLoss(const std::string& adapter, const std::string& model) {
  const Golden want(Adapters() / adapter / "golden.safetensors");
  if (want.Has("loss")) return want["loss"].item<double>();
  const at::Tensor labels = Golden(Models() / model / "golden.safetensors")["labels"];
  const at::Tensor logits = want["logits"];
  if (labels.dim() == 1) return at::cross_entropy_loss(logits, labels).item<double>();
  const int64_t length = logits.size(1);
  return at::cross_entropy_loss(logits[0].narrow(0, 0, length - 1),
                                labels[0].narrow(0, 1, length - 1))
      .item<double>();
}

class AdaptedModelGolden : public ::testing::TestWithParam<std::string> {};

// Bound: 1e-5 on losses (the golden README).
TEST_P(AdaptedModelGolden, LossEqualsTheReference) {
  const std::string base = GetParam().starts_with("bert") ? "bert" : "llama";
  const auto model = LoadAdaptedModel(Models() / base, Adapters() / GetParam(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->job.data.task, base == "bert" ? "classification" : "causal-lm");
  EXPECT_TRUE(model->untrained.empty());
  EXPECT_NEAR(MeanLoss(*model, GoldenExamples(base)), GoldenLoss(GetParam(), base), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(All, AdaptedModelGolden,
                         ::testing::Values("llama_lora", "llama_lora_alllinear", "llama_lora_regex",
                                           "llama_lora_layers", "llama_lora_pattern",
                                           "llama_seq_bn", "bert_lora", "bert_seq_bn",
                                           "bert_seq_bn_gelu", "llama_prompt", "bert_prompt"),
                         [](const auto& info) { return info.param; });

// The first token drawn is the arg-max of the reference's last logits.
TEST(AdaptedModel, GeneratesWithRanksAndAlphasByPattern) {
  const auto model =
      LoadAdaptedModel(Models() / "llama", Adapters() / "llama_lora_pattern", {"causal-lm"});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto generator = TextGenerator::Make(model->base, model->job, model->state);
  ASSERT_TRUE(generator.ok()) << generator.status();
  GenerateOptions options;
  options.max_new_tokens = 1;
  const auto text = (*generator)->Generate(GoldenExamples("llama")[0].ids, options);
  ASSERT_TRUE(text.ok()) << text.status();
  const Golden want(Adapters() / "llama_lora_pattern" / "golden.safetensors");
  EXPECT_EQ(text->at(0), want["logits"][0][-1].argmax().item<int32_t>());
}

// Generation keeps a cache and evaluation does not: both must put the prompt before the text. Its
// 5 positions are gone from the model's 128.
TEST(AdaptedModel, GeneratesBehindASoftPrompt) {
  const auto model =
      LoadAdaptedModel(Models() / "llama", Adapters() / "llama_prompt", {"causal-lm"});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto generator = TextGenerator::Make(model->base, model->job, model->state);
  ASSERT_TRUE(generator.ok()) << generator.status();
  GenerateOptions options;
  options.max_new_tokens = 1000;
  const std::vector<int32_t> prompt = GoldenExamples("llama")[0].ids;
  const auto text = (*generator)->Generate(prompt, options);
  ASSERT_TRUE(text.ok()) << text.status();
  const Golden want(Adapters() / "llama_prompt" / "golden.safetensors");
  EXPECT_EQ(text->at(0), want["logits"][0][-1].argmax().item<int32_t>());
  const auto longest = static_cast<size_t>(LongestSequence(model->base->config()));
  EXPECT_EQ(text->size(), longest - 5 - prompt.size() + 1);
  const auto refused = (*generator)->Generate(std::vector<int32_t>(longest - 4, 1), options);
  EXPECT_EQ(refused.status().message(), "prompt: got " + std::to_string(longest - 4) +
                                            " tokens, want 1.." + std::to_string(longest - 5));
}

// An adapter in bf16 gives what its rounded values give.
TEST(AdaptedModel, TakesSixteenBitAdapters) {
  const LoraAdapter full = *ReadPeftDirectory(Adapters() / "llama_lora");
  LoraAdapter half = full;
  Manifest manifest = full.weights.manifest();
  for (TensorSpec& spec : manifest) spec.dtype = DType::kBF16;
  half.weights = ParameterSet(manifest);
  LoraAdapter rounded = full;
  for (size_t row = 0; row < full.weights.size(); ++row) {
    const std::span<float> values = rounded.weights.floats(row);
    for (size_t cell = 0; cell < values.size(); ++cell) {
      const uint16_t bits = BF16OfFloat(values[cell]);
      std::memcpy(half.weights.bytes(row).data() + 2 * cell, &bits, 2);
      values[cell] = FloatOfBF16(bits);
    }
  }
  const auto out = Scratch();
  ASSERT_TRUE(WritePeftDirectory(out / "half", half).ok());
  ASSERT_TRUE(WritePeftDirectory(out / "rounded", rounded).ok());
  const auto one = LoadAdaptedModel(Models() / "llama", out / "half", {});
  const auto two = LoadAdaptedModel(Models() / "llama", out / "rounded", {});
  ASSERT_TRUE(one.ok() && two.ok()) << one.status();
  EXPECT_EQ(one->state.HashHex(), two->state.HashHex());
}

TEST(AdaptedModel, AnAdapterOfAnotherBaseNamesTheTensorSeenAndWanted) {
  const std::filesystem::path base = RIVULET_SOURCE_DIR "/simulations/models/llama-7m";
  const auto message = [&](const char* adapter) {
    return std::string(LoadAdaptedModel(base, Adapters() / adapter, {}).status().message());
  };
  EXPECT_THAT(message("llama_lora"), HasSubstr("the adapter is of another base model"));
  EXPECT_THAT(message("llama_lora"),
              HasSubstr("down_proj.lora_A.weight F32 [4,112], want F32 [4,704]: "));
  EXPECT_THAT(message("llama_seq_bn"), HasSubstr("the adapter is of another base model"));
  // Same widths, more layers than the adapter has tensors for.
  LoraAdapter adapter = *ReadPeftDirectory(Adapters() / "llama_lora");
  Manifest fewer;
  for (const TensorSpec& spec : adapter.weights.manifest()) {
    if (spec.name.find("layers.1.") == std::string::npos) fewer.push_back(spec);
  }
  const auto out = Scratch();
  ASSERT_TRUE(WritePeftDirectory(out, *MakeLoraAdapter(adapter.config, ParameterSet(fewer))).ok());
  EXPECT_THAT(std::string(LoadAdaptedModel(Models() / "llama", out, {}).status().message()),
              HasSubstr("which adapter_config.json asks for in this base model"));
}

// The same numbers whether they lie beside the base model or in it.
TEST(AdaptedModel, TakesTensorsOfTheBaseItself) {
  for (const std::string base : {"llama", "bert"}) {
    JobSpec job;
    job.method = "full";
    job.full.modules = {base == "llama" ? "layers.1" : "layer.1"};
    if (base == "bert") job.data.task = "classification";
    const ModelFiles files = *ModelFiles::Open(Models() / base);
    const JobModel model = *DescribeJobModel(Models() / base, files, job);
    WholeTensors tensors = {*InitialState(model.plan, 42, &files)};
    for (size_t row = 0; row < tensors.weights.size(); ++row) {
      for (float& value : tensors.weights.floats(row)) value *= 1.1f;
    }
    const auto out = Scratch() / base;
    ASSERT_TRUE(WriteWholeDirectory(out / "beside", tensors).ok());
    ASSERT_TRUE(MergeModel(Models() / base, tensors, {}, out / "merged", {}).ok());
    const auto beside = LoadAdaptedModel(Models() / base, out / "beside", {});
    const auto merged = LoadAdaptedModel(out / "merged", "", {});
    ASSERT_TRUE(beside.ok() && merged.ok()) << beside.status() << merged.status();
    EXPECT_EQ(beside->job.data.task,
              model.config.head == ModelHead::kCausalLm ? "causal-lm" : "classification");
    EXPECT_EQ(beside->state.HashHex(), tensors.weights.HashHex());
    const std::vector<Example> examples = GoldenExamples(base);
    const double loss = MeanLoss(*beside, examples);
    EXPECT_EQ(loss, MeanLoss(*merged, examples));
    const auto plain = LoadAdaptedModel(Models() / base, "", {});
    ASSERT_TRUE(plain.ok()) << plain.status();
    EXPECT_NE(loss, MeanLoss(*plain, examples));
  }
}

TEST(AdaptedModel, AHeadThatNobodyTrainedIsNamed) {
  const auto base = testing::SharedFolder() / "models" / "bert-7m";
  RV_SKIP_WITHOUT(base);
  const auto model = LoadAdaptedModel(base, "", {"", {"bad", "good"}});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->job.data.task, "classification");
  EXPECT_EQ(model->base->config().labels, (std::vector<std::string>{"bad", "good"}));
  EXPECT_THAT(model->untrained, ::testing::ElementsAre("bert.pooler.dense", "classifier"));
}

TEST(AdaptedModel, LabelsMustBeAsManyAsTheHeadHasClasses) {
  const auto model =
      LoadAdaptedModel(Models() / "bert", Adapters() / "bert_lora", {"", {"bad", "good"}});
  EXPECT_EQ(model.status().message(),
            "labels: got 2, want as many as the adapter's head has classes, 3");
}

}  // namespace
}  // namespace rivulet
