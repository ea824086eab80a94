// Directions over whole models, drawn as layers ask for them or inside their products, beside the
// same ones added to a copy.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "common/formats/adapter_manifest.h"
#include "peft/method/method.h"
#include "peft/model/network.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/zeroth_order/model_points.h"
#include "tests/unit/peft/random_model.h"

namespace rivulet {
namespace {

struct WholeCase {
  std::string name;
  bool bert, tied;
  std::vector<std::string> modules;
};
void PrintTo(const WholeCase& which, std::ostream* out) { *out << which.name; }

const WholeCase kWholeCases[] = {
    {"llama", false, false, {}},
    {"tied_llama", false, true, {}},
    {"bert_with_heads", true, false, {}},
    {"last_layer", false, false, {"layers.1", "model.norm"}},
};

class WholePoints : public ::testing::TestWithParam<WholeCase> {
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
    w_ = *InitialState(*plan, 1, &base_->files());
    network_ = MakeNetwork(base_);
    examples_ = testing::RandomExamples(6, 5, 14);
    std::vector<const Example*> chosen;
    for (const Example& example : examples_) chosen.push_back(&example);
    batch_ = *MakeBatch(chosen, task(), base_->config());
  }
  Task task() const { return GetParam().bert ? Task::kClassification : Task::kCausalLm; }

  double LossOf(const Adaptation& adaptation) {
    const at::NoGradGuard no_grad;
    Pass pass = {&workspace_, std::nullopt, false};
    return BatchLoss(*network_, batch_, task(), adaptation, pass).loss;
  }
  double LossAt(ModelPoints& points, const EvaluationPoint& at) {
    return LossOf(points.At(w_, {&at, 1}));
  }

  JobSpec job_;
  std::shared_ptr<const BaseModel> base_;
  std::unique_ptr<Method> method_;
  std::unique_ptr<Network> network_;
  ParameterSet w_;
  std::vector<Example> examples_;
  Batch batch_;
  kernels::Workspace workspace_;
};

TEST_P(WholePoints, DrawnTensorsHaveTheLossesOfCopiesToTheBit) {
  const std::string before = w_.HashHex();
  for (const DirectionKind kind :
       {DirectionKind::kRademacher, DirectionKind::kGauss, DirectionKind::kLowRank,
        DirectionKind::kSubspace, DirectionKind::kFlipped}) {
    for (const int splits : {1, 2}) {
      const Directions directions({kind, 2, 2}, 5, method_->manifest(), 0, splits);
      const auto copied = MakeCopiedPoints(*method_, directions, 1);
      const auto drawn = MakeDrawnPoints(*method_, directions);
      for (const EvaluationPoint& at :
           {EvaluationPoint{0, 0}, {3, 0.02f}, {3, -0.02f}, {4, 0.02f}}) {
        EXPECT_EQ(LossAt(*drawn, at), LossAt(*copied, at)) << at.index << ", " << at.scale;
      }
      EXPECT_NE(LossAt(*drawn, {3, 0.02f}), LossAt(*drawn, {0, 0}));
    }
  }
  EXPECT_EQ(w_.HashHex(), before);
}

// Numbers of drawn tensors that exist at once, looked at whenever one more is made; and where they
// lie: in what one layer and all that is in none of them take.
TEST_P(WholePoints, NoMoreThanALayerIsDrawnAtATime) {
  const Directions directions({DirectionKind::kRademacher}, 5, method_->manifest());
  const auto drawn = MakeDrawnPoints(*method_, directions);
  const EvaluationPoint at = {3, 0.02f};
  Adaptation adaptation = drawn->At(w_, {&at, 1});
  int64_t layer = 0, outside = 0, most = 0;
  for (const TensorSpec& spec : method_->manifest()) {
    const bool last =
        spec.name.find(GetParam().bert ? "layer.1." : "layers.1.") != std::string::npos;
    if (last) layer += spec.elements();
    if (spec.name.find("layer.") == spec.name.npos && spec.name.find("layers.") == spec.name.npos) {
      outside += spec.elements();
    }
  }
  std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>> made;
  std::map<void*, int64_t> places;
  adaptation.moved = [&, moved = adaptation.moved](std::string_view name, const at::Tensor& still) {
    const at::Tensor tensor = moved(name, still);
    made.emplace_back(tensor.getIntrusivePtr());
    places[tensor.data_ptr()] = tensor.numel();
    int64_t alive = 0;
    for (const auto& each : made) {
      if (const auto there = each.lock()) alive += there->numel();
    }
    most = std::max(most, alive);
    return tensor;
  };
  LossOf(adaptation);
  EXPECT_GE(made.size(), method_->manifest().size());
  EXPECT_GT(most, 0);
  EXPECT_LE(most, layer);
  int64_t room = 0;
  for (const auto& [place, numbers] : places) room += numbers;
  EXPECT_LE(room, layer + outside);
  const size_t rooms = places.size();
  LossOf(adaptation);
  EXPECT_EQ(places.size(), rooms);  // a second pass draws into the same ones
}

// At a width that moves the loss by far more than the bound.
TEST_P(WholePoints, LossesInsideProductsAreThoseOfPerturbedCopies) {
  const std::string before = w_.HashHex();
  for (const auto& [kind, rank] : {std::pair{DirectionKind::kLowRank, 1},
                                   {DirectionKind::kLowRank, 3},
                                   {DirectionKind::kSubspace, 3}}) {
    for (const int splits : {1, 2}) {
      const Directions directions({kind, rank, 2}, 5, method_->manifest(), 0, splits);
      const auto copied = MakeCopiedPoints(*method_, directions, 1);
      const auto inside = MakeFactoredPoints(*method_, directions, base_->config());
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
  EXPECT_EQ(w_.HashHex(), before);
}

// What is drawn is what no linear map multiplies with: embeddings, heads, norms and biases.
TEST_P(WholePoints, MatricesOfLinearMapsStayWhereTheyAre) {
  const Directions directions({DirectionKind::kLowRank}, 5, method_->manifest());
  const auto inside = MakeFactoredPoints(*method_, directions, base_->config());
  const EvaluationPoint at = {3, 0.02f};
  const Adaptation adaptation = inside->At(w_, {&at, 1});
  std::set<std::string> moved;
  for (size_t row = 0; row < w_.size(); ++row) {
    const TensorSpec& spec = w_.manifest()[row];
    const at::Tensor tensor = adaptation.moved(spec.name, adaptation.replaced.at(spec.name));
    const float* const place = w_.floats(row).data();
    const bool vector = spec.shape.size() == 1;
    const bool apart = spec.name.find("embed") != spec.name.npos || spec.name == "lm_head.weight" ||
                       spec.name == "classifier.weight";
    EXPECT_EQ(tensor.data_ptr<float>() == place, !vector && !apart) << spec.name;
    if (!vector && !apart) moved.insert(spec.name.substr(0, spec.name.rfind('.')));
  }
  EXPECT_GE(moved.size(), 6u);
  ASSERT_EQ(adaptation.low_rank.size(), moved.size());
  for (const auto& [module, low_rank] : adaptation.low_rank) {
    EXPECT_TRUE(moved.contains(module)) << module;
    EXPECT_FLOAT_EQ(static_cast<float>(low_rank.scale), 0.02f);
  }
}

// A round of a whole model along directions of a rank has them, and none along signs.
TEST_P(WholePoints, AreThoseOfARoundAlongLowRank) {
  for (const auto& [name, kind] : {std::pair{"low-rank", DirectionKind::kLowRank},
                                   {"subspace", DirectionKind::kSubspace},
                                   {"rademacher", DirectionKind::kRademacher}}) {
    const bool low_rank = kind != DirectionKind::kRademacher;
    job_.train.direction = name;
    const Directions directions({kind}, 5, method_->manifest());
    const auto points = MakePoints(*method_, job_.train, base_->config(), directions, 1);
    const EvaluationPoint at = {3, 0.02f};
    const Adaptation adaptation = points->At(w_, {&at, 1});
    EXPECT_EQ(adaptation.low_rank.empty(), !low_rank);
    EXPECT_TRUE(adaptation.moved);
  }
}

INSTANTIATE_TEST_SUITE_P(All, WholePoints, ::testing::ValuesIn(kWholeCases),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace rivulet
