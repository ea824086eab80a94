// Fine-tuning a bare bert, whose file holds neither pooler nor classifier.
#include <set>

#include "common/formats/adapter_manifest.h"
#include "common/formats/lora_adapter.h"
#include "common/formats/safetensors_writer.h"
#include "peft/trainer/first_order_tuner.h"
#include "tests/unit/peft/golden.h"

namespace rivulet {
namespace {

constexpr char kOtherHead[] = "cls.predictions.bias";

// The golden bert as BertModel without pooling layer writes it: no `bert.` in front. A tensor of
// the head that it was trained with is still there.
std::filesystem::path BareBert() {
  const auto folder = testing::ModelWith(
      "bert", {{"architectures", {"BertModel"}}, {"id2label", nullptr}, {"label2id", nullptr}});
  const auto whole =
      ReadParameterSetFile(testing::GoldenFolder() / "models/bert/model.safetensors");
  EXPECT_TRUE(whole.ok()) << whole.status();
  constexpr std::string_view kPrefix = "bert.";
  Manifest manifest = {{kOtherHead, DType::kF32, {3}}};
  std::vector<size_t> rows;
  for (size_t row = 0; row < whole->size(); ++row) {
    const TensorSpec& spec = whole->manifest()[row];
    if (!spec.name.starts_with(kPrefix) || spec.name.starts_with("bert.pooler")) continue;
    manifest.push_back({spec.name.substr(kPrefix.size()), spec.dtype, spec.shape});
    rows.push_back(row);
  }
  ParameterSet bare(manifest);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto values = whole->floats(rows[i]);
    std::copy(values.begin(), values.end(), bare.floats(i + 1).begin());
  }
  std::filesystem::remove(folder / "model.safetensors");
  EXPECT_TRUE(WriteSafetensors(folder / "model.safetensors", bare).ok());
  return folder;
}

std::vector<int64_t> HeadRows(const Manifest& manifest) {
  std::vector<int64_t> rows;
  for (const char* name : {"bert.pooler.dense.weight", "bert.pooler.dense.bias",
                           "classifier.weight", "classifier.bias"}) {
    const auto row = std::find_if(manifest.begin(), manifest.end(), [&](const TensorSpec& spec) {
      return spec.name.ends_with(std::string(".") + name);
    });
    EXPECT_NE(row, manifest.end()) << name;
    rows.push_back(row - manifest.begin());
  }
  return rows;
}

TEST(NewHead, OfABareBertComesFromTheSeedIsTrainedAndTravels) {
  JobSpec job;
  job.data.task = "classification";
  job.data.labels = {"no", "perhaps", "yes"};
  job.train.per_device_train_batch_size = 3;
  const auto base = LoadBaseModel(BareBert(), job);
  ASSERT_TRUE(base.ok()) << base.status();
  EXPECT_EQ((*base)->match().missing_heads,
            (std::vector<std::string>{"bert.pooler.dense", "classifier"}));
  EXPECT_EQ((*base)->match().ignored, std::vector<std::string>{kOtherHead});
  const auto plan = PlanAdapter((*base)->config(), (*base)->match(), job);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const ParameterSet state = *InitialState(*plan, 1), other = *InitialState(*plan, 2);
  const std::vector<int64_t> rows = HeadRows(state.manifest());
  EXPECT_EQ(state.manifest()[rows[2]].shape, (std::vector<int64_t>{3, 64}));
  for (size_t matrix : {0u, 2u}) {  // N(0, 0.02^2); biases start at 0
    EXPECT_NE(state.floats(rows[matrix])[0], 0);
    EXPECT_NE(state.floats(rows[matrix])[0], other.floats(rows[matrix])[0]);
  }
  EXPECT_EQ(state.HashHex(), InitialState(*plan, 1)->HashHex());

  std::vector<Example> examples(3);
  for (int i = 0; i < 3; ++i) {
    examples[i].ids = {1, 5 + i, 9, 2 * i};
    examples[i].label = i;
  }
  TuneRequest request;
  request.global = &state;
  request.examples = examples;
  const auto tuner = MakeFirstOrderTuner(*base, job);
  ASSERT_TRUE(tuner.ok()) << tuner.status();
  const auto result = (*tuner)->Tune(request);
  ASSERT_TRUE(result.ok()) << result.status();
  for (int64_t row : rows) {
    const auto delta = result->delta.floats(row);
    EXPECT_TRUE(std::any_of(delta.begin(), delta.end(), [](float d) { return d != 0; }))
        << state.manifest()[row].name;
  }
}

TEST(NewHead, OfABareBertIsExportedInModulesToSave) {
  JobSpec job;
  job.data.task = "classification";
  job.data.labels = {"no", "perhaps", "yes"};
  const std::filesystem::path folder = BareBert();
  const auto model = DescribeJobModel(folder, *ModelFiles::Open(folder), job);
  ASSERT_TRUE(model.ok()) << model.status();
  const ParameterSet state = *InitialState(model->plan, 1);
  const auto adapter = LoraAdapterOf(*model, job, state);
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ(adapter->config.modules_to_save,
            (std::vector<std::string>{"bert.pooler.dense", "classifier", "score"}));
  std::set<std::string> keys;
  for (size_t row : adapter->saved) {
    keys.insert(adapter->weights.manifest()[row].name);
    EXPECT_TRUE(std::ranges::equal(adapter->weights.floats(row), state.floats(row)));
  }
  EXPECT_EQ(keys, (std::set<std::string>{"base_model.model.bert.pooler.dense.bias",
                                         "base_model.model.bert.pooler.dense.weight",
                                         "base_model.model.classifier.bias",
                                         "base_model.model.classifier.weight"}));
}

}  // namespace
}  // namespace rivulet
