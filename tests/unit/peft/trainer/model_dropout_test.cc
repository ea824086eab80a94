// Dropout that config.json asks for, as a client's round sees it.
#include "common/formats/adapter_manifest.h"
#include "peft/trainer/first_order_tuner.h"
#include "tests/unit/peft/golden.h"

namespace rivulet {
namespace {

// Two steps of one client on a golden model under changed dropout rates.
class Rounds {
 public:
  explicit Rounds(const std::string& model) : model_(model) {
    job.data.task = model == "bert" ? "classification" : "causal-lm";
    job.lora.lora_dropout = 0;
    job.train.per_device_train_batch_size = 2;
    job.train.max_steps = 2;
    RandomCursor cursor(RandomStream(5, Purpose::kPartition, 0));
    for (int i = 0; i < 6; ++i) {
      Example example;
      for (int t = 0; t < 9 + i % 3; ++t) {
        example.ids.push_back(static_cast<int32_t>(cursor.Bounded(97)));
      }
      example.label = i % 3;
      examples_.push_back(example);
    }
  }
  // `rates` are keys of config.json; the others are 0.
  std::string DeltaOf(const nlohmann::json& rates) const {
    const auto base = Load(rates);
    const ParameterSet state = StateOf(*base);
    TuneRequest request;
    request.global = &state;
    request.examples = examples_;
    const auto result = (*MakeFirstOrderTuner(base, job))->Tune(request);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->delta.HashHex() : "";
  }
  double EvaluationLossOf(const nlohmann::json& rates) const {
    const auto base = Load(rates);
    const auto sums = (*MakeFirstOrderTuner(base, job))->Evaluate(StateOf(*base), examples_);
    EXPECT_TRUE(sums.ok()) << sums.status();
    return sums.ok() ? sums->loss : -1;
  }

  JobSpec job;

 private:
  std::shared_ptr<const BaseModel> Load(const nlohmann::json& rates) const {
    nlohmann::json changes = {{"hidden_dropout_prob", 0},
                              {"attention_probs_dropout_prob", 0},
                              {"classifier_dropout", 0},
                              {"attention_dropout", 0}};
    changes.update(rates);
    const auto base = LoadBaseModel(testing::ModelWith(model_, changes), job);
    EXPECT_TRUE(base.ok()) << base.status();
    return *base;
  }
  ParameterSet StateOf(const BaseModel& base) const {
    const auto plan = PlanAdapter(base.config(), base.match(), job);
    return *InitialState(*plan, 1, &base.files());
  }

  std::string model_;
  std::vector<Example> examples_;
};

struct Case {
  std::string name;
  std::string model;
  nlohmann::json rates;
};
void PrintTo(const Case& which, std::ostream* out) { *out << which.name; }

class ModelDropout : public ::testing::TestWithParam<Case> {
 protected:
  std::string Delta() const { return rounds_.DeltaOf(GetParam().rates); }

  Rounds rounds_{GetParam().model};
};

TEST_P(ModelDropout, IsAppliedInTrainingAndTheSameForTheSameAddress) {
  const std::string with = Delta();
  EXPECT_NE(with, rounds_.DeltaOf(nlohmann::json::object()));
  EXPECT_EQ(with, Delta());
}

TEST_P(ModelDropout, CheckpointingMakesTheSameMasks) {
  const std::string plain = Delta();
  rounds_.job.model.gradient_checkpointing = true;
  EXPECT_EQ(Delta(), plain);
}

TEST_P(ModelDropout, ThreadsDoNotChangeTheBits) {
  const std::string one = Delta();
  rounds_.job.train.threads = 2;
  EXPECT_EQ(Delta(), one);
}

TEST_P(ModelDropout, EvaluationAppliesNone) {
  EXPECT_EQ(rounds_.EvaluationLossOf(GetParam().rates),
            rounds_.EvaluationLossOf(nlohmann::json::object()));
}

INSTANTIATE_TEST_SUITE_P(
    All, ModelDropout,
    ::testing::Values(Case{"bert_hidden", "bert", {{"hidden_dropout_prob", 0.2}}},
                      Case{"bert_attention", "bert", {{"attention_probs_dropout_prob", 0.2}}},
                      Case{"bert_classifier", "bert", {{"classifier_dropout", 0.2}}},
                      Case{"llama_attention", "llama", {{"attention_dropout", 0.2}}}),
    [](const auto& info) { return info.param.name; });

TEST(ClassifierDropout, IsTheHiddenRateWhenAbsent) {
  const Rounds rounds("bert");
  const auto delta = [&](const nlohmann::json& classifier) {
    return rounds.DeltaOf({{"hidden_dropout_prob", 0.2}, {"classifier_dropout", classifier}});
  };
  EXPECT_EQ(delta(nullptr), delta(0.2));
  EXPECT_NE(delta(nullptr), delta(0));
}

}  // namespace
}  // namespace rivulet
