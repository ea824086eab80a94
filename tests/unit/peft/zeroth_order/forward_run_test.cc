// Exact slopes by forward-mode differentiation, on small drawn models.
#include <ATen/ATen.h>

#include <cmath>

#include "common/direction/directions.h"
#include "common/formats/adapter_manifest.h"
#include "peft/model/base_model.h"
#include "peft/model/tangent.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/zeroth_order/zeroth_order_tuner.h"
#include "tests/unit/peft/random_model.h"
#include "tests/unit/peft/side_by_side.h"

namespace rivulet {
namespace {

struct ForwardCase {
  std::string name;
  bool bert;
  void (*shape)(JobSpec& job);
};
void PrintTo(const ForwardCase& which, std::ostream* out) { *out << which.name; }

const ForwardCase kForwardCases[] = {
    {"lora_llama", false, [](JobSpec&) {}},
    {"lora_bert", true, [](JobSpec&) {}},
    {"prompt", false, [](JobSpec& job) { job.method = "prompt"; }},
    {"subspace", false,
     [](JobSpec& job) {
       job.method = "prompt";
       job.prompt.subspace = 20;
     }},
    {"bottleneck_bert", true,
     [](JobSpec& job) {
       job.method = "adapter";
       job.adapter.non_linearity = "gelu";
     }},
    {"full_llama", false, [](JobSpec& job) { job.method = "full"; }},
    {"full_bert", true, [](JobSpec& job) { job.method = "full"; }},
};

class Forward : public ::testing::TestWithParam<ForwardCase> {
 protected:
  void SetUp() override {
    const bool bert = GetParam().bert;
    nlohmann::json config = bert ? testing::SmallBert() : testing::SmallLlama();
    config.merge_patch({{"attention_dropout", 0.2},
                        {"hidden_dropout_prob", 0.1},
                        {"attention_probs_dropout_prob", 0.2}});
    job_.data.task = bert ? "classification" : "causal-lm";
    job_.lora.lora_target_modules = {"all-linear"};
    job_.lora.lora_dropout = 0.3;
    job_.prompt.num_virtual_tokens = 5;
    job_.train.estimator = "forward";
    job_.train.optimizer = "sgd";
    job_.train.max_grad_norm = 0;
    job_.train.learning_rate = 1e-3;
    job_.train.queries = 8;
    job_.train.per_device_train_batch_size = 3;
    job_.train.gradient_accumulation_steps = 2;
    job_.train.max_steps = 1;
    GetParam().shape(job_);
    const auto base = LoadBaseModel(testing::RandomModel(config, false), job_);
    ASSERT_TRUE(base.ok()) << base.status();
    base_ = *base;
    const auto plan = PlanAdapter(base_->config(), base_->match(), job_);
    ASSERT_TRUE(plan.ok()) << plan.status();
    state_ = *InitialState(*plan, 1, &base_->files());
    if (job_.method != "full") state_ = testing::Moved(state_);
    examples_ = testing::RandomExamples(6, 5, 14);
  }

  TuneRequest RequestOf(const std::string& client) const {
    TuneRequest request;
    request.global = &state_;
    request.examples = examples_;
    request.client = client;
    return request;
  }

  JobSpec job_;
  std::shared_ptr<const BaseModel> base_;
  ParameterSet state_;
  std::vector<Example> examples_;
};

// Coefficients are slopes over their number, in units of the rate: those of a gradient projected on
// the same directions, under the same dropout, but for the rounding of binary32.
TEST_P(Forward, SlopesAreThoseOfBackpropagation) {
  job_.scalars.enabled = true;
  for (const char* direction : {"rademacher", "gauss", "low-rank"}) {
    job_.train.direction = direction;
    TuneRequest request = RequestOf("a");
    const auto tuner = *MakeZerothOrderTuner(base_, job_);
    const auto exact = tuner->Tune(request);
    request.project_gradient = true;
    const auto projected = tuner->Tune(request);
    ASSERT_TRUE(exact.ok() && projected.ok()) << exact.status() << projected.status();
    EXPECT_NEAR(exact->loss, projected->loss, 1e-5 * projected->loss);
    const std::vector<float> got = FlatOf(exact->delta), want = FlatOf(projected->delta);
    ASSERT_EQ(got.size(), 8u);
    const double size = projected->grad_norm / 8;  // root mean square
    ASSERT_GT(size, 0);
    for (size_t query = 0; query < 8; ++query) {
      EXPECT_NEAR(got[query], want[query], 1e-4 * size) << direction << ", " << query;
    }
  }
}

TEST_P(Forward, ClientsSideBySideGetTheBitsTheyGetAlone) {
  job_.train.queries = 2;
  job_.train.max_steps = 3;
  const auto tuner = *MakeZerothOrderTuner(base_, job_);
  std::vector<std::string> alone;
  std::vector<TuneRequest> requests;
  for (const char* client : {"a", "b", "c", "d"}) {
    requests.push_back(RequestOf(client));
    const auto result = tuner->Tune(requests.back());
    ASSERT_TRUE(result.ok()) << result.status();
    alone.push_back(result->delta.HashHex());
  }
  EXPECT_EQ(testing::HashesSideBySide(*tuner, requests), alone);
  EXPECT_NE(alone[0], alone[1]);
}

INSTANTIATE_TEST_SUITE_P(All, Forward, ::testing::ValuesIn(kForwardCases),
                         [](const auto& info) { return info.param.name; });

// d/dt (w + t z)^2 = 2 w z.
TEST(Tangent, EndsWithItsTensor) {
  const at::NoGradGuard no_grad;
  const at::Tensor w = at::tensor({3.0f, -1.0f}), z = at::tensor({0.5f, 2.0f});
  EXPECT_FALSE(HasTangent(w));
  EXPECT_FALSE(HasTangent({}));
  const at::Tensor both = WithTangent(w, z);
  EXPECT_TRUE(HasTangent(both));
  EXPECT_FALSE(HasTangent(w));
  EXPECT_TRUE(at::equal(TangentOf(both.square()), at::tensor({3.0f, -4.0f})));
  EXPECT_TRUE(at::equal(TangentOf(WithTangent(w, w).square()), at::tensor({18.0f, 2.0f})));
}

}  // namespace
}  // namespace rivulet
