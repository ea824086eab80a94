// Estimates of the gradient beside autograd's, on a small drawn llama.
#include <cmath>
#include <string>
#include <vector>

#include "common/direction/directions.h"
#include "peft/zeroth_order/zeroth_order_tuner.h"
#include "tests/unit/peft/zeroth_order/dropping_model.h"

namespace rivulet {
namespace {

using testing::DroppingCase;

const DroppingCase kLlama[] = {{"lora_llama", false, [](JobSpec& job) { job.lora.lora_r = 2; }}};

class GradientCosine : public testing::DroppingModel {
 protected:
  // What one step of plain descent moves, over minus the rate.
  std::vector<double> StepOf(const std::string& estimator, int queries) {
    job_.train.estimator = estimator;
    job_.train.queries = queries;
    const TuneRequest request = RequestOf("a");
    const auto tuner = estimator == "backprop" ? MakeFirstOrderTuner(base_, job_)
                                               : MakeZerothOrderTuner(base_, job_);
    EXPECT_TRUE(tuner.ok()) << tuner.status();
    const auto result = (*tuner)->Tune(request);
    EXPECT_TRUE(result.ok()) << result.status();
    std::vector<double> moved;
    for (const float one : FlatOf(result->delta)) moved.push_back(-one / job_.train.learning_rate);
    return moved;
  }
};

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

struct Estimate {
  const char* direction;
  const char* estimator;
  int queries;
  double deviations;  // of <g, z>^2, in |g|^2
};

// <g, ghat> / |g|^2 is the mean of P squares of nearly normal numbers, 1 +- sqrt(2 / P), and
// |ghat|^2 / |g|^2 is (P + d - 1) / P of about that, with d + 1 for normal numbers, whose own
// length varies: the cosine is sqrt(P / (P + d - 1)) but for the root of a factor with a relative
// deviation of sqrt(2 / P). Along a product of signs, which is as long as signs, <g, z> has a
// fourth moment of at most 9 in place of 3: sqrt(8 / P). Bounds are 4.5 deviations. Squares are
// skewed: of chi-square that is a false alarm in one of 50,000 seeds for P = 400, of 16,000 for
// 100, for each comparison; the seed is fixed. Autograd's gradient is of the same batches under the
// same dropout.
TEST_P(GradientCosine, WithAutogradsFollowsTheLaw) {
  const std::vector<double> gradient = StepOf("backprop", 1);
  const auto d = static_cast<double>(gradient.size());
  ASSERT_GT(d, 1500);
  job_.train.perturbation = 1e-3;  // 1e-2 is 0.4 along a direction, and this model curves there
  job_.train.direction_rank = 1;
  const double normal = std::sqrt(2), product = std::sqrt(8);
  for (const Estimate& kind :
       {Estimate{"rademacher", "central", 400, normal},
        Estimate{"rademacher", "central", 100, normal},
        Estimate{"rademacher", "one-sided", 400, normal},
        Estimate{"rademacher", "forward", 400, normal}, Estimate{"gauss", "central", 400, normal},
        Estimate{"gauss", "one-sided", 400, normal}, Estimate{"gauss", "forward", 400, normal},
        Estimate{"low-rank", "central", 1000, product}}) {
    job_.train.direction = kind.direction;
    const std::vector<double> estimate = StepOf(kind.estimator, kind.queries);
    const double along = Dot(gradient, estimate);
    const double cosine = along / std::sqrt(Dot(gradient, gradient) * Dot(estimate, estimate));
    const double beyond = std::string(kind.direction) == "gauss" ? d + 1 : d - 1;
    const double bound = 4.5 * kind.deviations / std::sqrt(kind.queries);
    const std::string name =
        std::string(kind.direction) + ", " + kind.estimator + ", " + std::to_string(kind.queries);
    EXPECT_NEAR(cosine / std::sqrt(kind.queries / (kind.queries + beyond)), 1, bound / 2) << name;
    EXPECT_NEAR(along / Dot(gradient, gradient), 1, bound) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Small, GradientCosine, ::testing::ValuesIn(kLlama),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace rivulet
