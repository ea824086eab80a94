// Exact slopes by forward-mode differentiation, on small drawn models.
#include <ATen/ATen.h>

#include <cmath>

#include "common/direction/directions.h"
#include "peft/model/tangent.h"
#include "peft/zeroth_order/zeroth_order_tuner.h"
#include "tests/unit/peft/side_by_side.h"
#include "tests/unit/peft/zeroth_order/dropping_model.h"

namespace rivulet {
namespace {

using testing::DroppingCase;

const DroppingCase kForwardCases[] = {
    {"lora_llama", false, [](JobSpec&) {}},
    {"lora_bert", true, [](JobSpec&) {}},
    {"prompt", false, [](JobSpec& job) { job.method = "prompt"; }},
    {"prompt_bert", true, [](JobSpec& job) { job.method = "prompt"; }},
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
    {"bottleneck_llama", false, [](JobSpec& job) { job.method = "adapter"; }},
    {"full_llama", false, [](JobSpec& job) { job.method = "full"; }},
    {"full_bert", true, [](JobSpec& job) { job.method = "full"; }},
};

class Forward : public testing::DroppingModel {
 protected:
  Forward() {
    job_.train.estimator = "forward";
    job_.train.queries = 8;
  }
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
