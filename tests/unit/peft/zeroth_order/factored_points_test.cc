// Directions of low rank inside the products of whole models, beside the same ones added to a copy.
#include <ATen/ATen.h>

#include <cmath>
#include <set>

#include "common/formats/adapter_manifest.h"
#include "peft/method/method.h"
#include "peft/model/network.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/zeroth_order/model_points.h"
#include "tests/unit/peft/random_model.h"

namespace rivulet {
namespace {

struct FactoredCase {
  std::string name;
  bool bert, tied;
  std::vector<std::string> modules;
};
void PrintTo(const FactoredCase& which, std::ostream* out) { *out << which.name; }

const FactoredCase kFactoredCases[] = {
    {"llama", false, false, {}},
    {"tied_llama", false, true, {}},
    {"bert_with_heads", true, false, {}},
    {"last_layer", false, false, {"layers.1", "model.norm"}},
};

class FactoredPoints : public ::testing::TestWithParam<FactoredCase> {
 protected:
  void SetUp() override {
    nlohmann::json config = GetParam().bert ? testing::SmallBert() : testing::SmallLlama();
    config["tie_word_embeddings"] = GetParam().tied;
    job_.method = "full";
    job_.full.modules = GetParam().modules;
    job_.data.task = GetParam().bert ? "classification" : "causal-lm";
    const auto base = LoadBaseModel(testing::RandomModel(config, false), job_);
    ASSERT_TRUE(base.ok()) << base.status();
    base_ = *base;
    const auto plan = PlanAdapter(base_->config(), base_->match(), job_);
    ASSERT_TRUE(plan.ok()) << plan.status();
    method_ = *MakeMethod(*plan, job_, &base_->files());
    values_ = FlatOf(*InitialState(*plan, 1, &base_->files()));
    network_ = MakeNetwork(base_);
    examples_ = testing::RandomExamples(6, 5, 14);
    std::vector<const Example*> chosen;
    for (const Example& example : examples_) chosen.push_back(&example);
    batch_ = *MakeBatch(chosen, task(), base_->config());
  }
  Task task() const { return GetParam().bert ? Task::kClassification : Task::kCausalLm; }

  double LossAt(ModelPoints& points, const EvaluationPoint& at) {
    const at::NoGradGuard no_grad;
    Pass pass = {&workspace_, std::nullopt, false};
    return BatchLoss(*network_, batch_, task(), points.At({&at, 1}), pass).loss;
  }

  JobSpec job_;
  std::shared_ptr<const BaseModel> base_;
  std::unique_ptr<Method> method_;
  std::unique_ptr<Network> network_;
  std::vector<float> values_;
  std::vector<Example> examples_;
  Batch batch_;
  kernels::Workspace workspace_;
};

// At a width that moves the loss by far more than the bound.
TEST_P(FactoredPoints, LossesAreThoseOfPerturbedCopies) {
  const std::vector<float> before = values_;
  for (const auto& [kind, rank] : {std::pair{DirectionKind::kLowRank, 1},
                                   {DirectionKind::kLowRank, 3},
                                   {DirectionKind::kSubspace, 3}}) {
    for (const int splits : {1, 2}) {
      const Directions directions({kind, rank, 2}, 5, method_->manifest(), 0, splits);
      const auto copied = MakeCopiedPoints(*method_, directions, values_, 1);
      const auto inside = MakeFactoredPoints(*method_, directions, values_, base_->config());
      const double still = LossAt(*copied, {0, 0});
      EXPECT_EQ(LossAt(*inside, {0, 0}), still);
      double moved = 0;
      for (const EvaluationPoint& at :
           {EvaluationPoint{3, 0.02f}, {3, -0.02f}, {4, 0.02f}, {3, 0.02f}}) {
        const double want = LossAt(*copied, at);
        EXPECT_NEAR(LossAt(*inside, at), want, 1e-5 * want) << rank << ", " << splits;
        moved = std::max(moved, std::abs(want - still));
      }
      EXPECT_GT(moved, 1e-3 * still);
    }
  }
  EXPECT_EQ(values_, before);
}

// What is copied is what no linear map multiplies with: embeddings, heads, norms and biases.
TEST_P(FactoredPoints, MatricesOfLinearMapsStayWhereTheyAre) {
  const Directions directions({DirectionKind::kLowRank}, 5, method_->manifest());
  const auto inside = MakeFactoredPoints(*method_, directions, values_, base_->config());
  const EvaluationPoint at = {3, 0.02f};
  const Adaptation adaptation = inside->At({&at, 1});
  const float* place = values_.data();
  std::set<std::string> moved;
  for (const TensorSpec& spec : method_->manifest()) {
    const at::Tensor& tensor = adaptation.replaced.at(spec.name);
    const bool vector = spec.shape.size() == 1;
    const bool apart = spec.name.find("embed") != spec.name.npos || spec.name == "lm_head.weight" ||
                       spec.name == "classifier.weight";
    EXPECT_EQ(tensor.data_ptr<float>() == place, !vector && !apart) << spec.name;
    if (!vector && !apart) moved.insert(spec.name.substr(0, spec.name.rfind('.')));
    place += spec.elements();
  }
  EXPECT_GE(moved.size(), 6u);
  ASSERT_EQ(adaptation.low_rank.size(), moved.size());
  for (const auto& [module, low_rank] : adaptation.low_rank) {
    EXPECT_TRUE(moved.contains(module)) << module;
    EXPECT_FLOAT_EQ(static_cast<float>(low_rank.scale), 0.02f);
  }
}

// A round of a whole model along directions of a rank has them, and none along signs.
TEST_P(FactoredPoints, AreThoseOfARoundAlongLowRank) {
  for (const auto& [name, kind] : {std::pair{"low-rank", DirectionKind::kLowRank},
                                   {"subspace", DirectionKind::kSubspace},
                                   {"rademacher", DirectionKind::kRademacher}}) {
    const bool low_rank = kind != DirectionKind::kRademacher;
    job_.train.direction = name;
    const Directions directions({kind}, 5, method_->manifest());
    const auto points = MakePoints(*method_, job_.train, base_->config(), directions, values_, 1);
    const EvaluationPoint at = {3, 0.02f};
    EXPECT_EQ(points->At({&at, 1}).low_rank.empty(), !low_rank);
  }
}

INSTANTIATE_TEST_SUITE_P(All, FactoredPoints, ::testing::ValuesIn(kFactoredCases),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace rivulet
