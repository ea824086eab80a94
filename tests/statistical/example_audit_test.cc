// An audit of the noise that protects single examples: DP-SGD in the tuner, against what the client
// tells its owner. A canary is an example; the attacker knows all of them, the model and every
// setting, and sees the update.
#include <ATen/ATen.h>

#include "client/runtime/example_guard.h"
#include "client/runtime/example_ledger.h"
#include "common/io/sha256.h"
#include "tests/statistical/one_run_audit.h"
#include "tests/unit/peft/trainer/private_work.h"

namespace rivulet {
namespace {

constexpr double kDelta = 1e-9;   // of claims; the theorem pays 2 m delta for it
constexpr double kChance = 1e-6;  // that an audit refutes a true claim
constexpr int kCanaries = 500;
constexpr size_t kEach = 150;  // guesses of either kind

class ExampleAudit : public ::testing::Test {
 protected:
  ExampleAudit() : work_({"lora", testing::SmallLlama, true, [](JobSpec&) {}}, kCanaries, 4, 10) {
    work_.job.train.learning_rate = 1;
    work_.job.train.max_steps = 1;
    work_.job.train.per_device_train_batch_size = 50;
    work_.job.train.gradient_accumulation_steps = kCanaries / 50;
    work_.job.job.num_rounds = 1;
    work_.job.privacy.mechanism = "example";
    work_.job.privacy.clip_norm = kClipNorm;
    work_.job.privacy.target_epsilon = 100;
    work_.job.privacy.target_delta = kDelta;
    // Every example's gradient as the product clips it, in units of the clip norm.
    gradients_ = at::zeros({kCanaries, Numbers()}, at::kDouble);
    for (uint32_t canary = 0; canary < kCanaries; ++canary) {
      ClippedSum clipped(testing::Clip(kClipNorm), Numbers());
      EXPECT_TRUE(clipped.Add(work_.AloneGradient(canary)).ok());
      double* row = gradients_.data_ptr<double>() + canary * Numbers();
      for (const int64_t sum : clipped.sums()) {
        *row++ = static_cast<double>(sum) / clipped.grid().bound;
      }
    }
    gram_ = at::matmul(gradients_, gradients_.t());
  }

  struct Promise {
    ExamplePrivacy privacy;
    Epsilon spent;
  };
  Promise PromiseFor(double z) {
    work_.job.privacy.noise_multiplier = z;
    const ExamplePrivacy privacy = *ExamplePrivacyOf(work_.job, kCanaries);
    ExampleLedger ledger;
    return {privacy, *ledger.Charge("client", "canaries", ReleaseOf(privacy, "audit", 1, 1),
                                    {work_.job.privacy.target_epsilon, kDelta})};
  }

  // What the update says of each canary: the best linear guess of who was there, given that noise.
  std::vector<double> Scores(const ParameterSet& delta, double z) const {
    at::Tensor sum = at::zeros({Numbers()}, at::kDouble);
    double* at = sum.data_ptr<double>();
    for (size_t row = 0; row < delta.size(); ++row) {
      for (const float value : delta.floats(row)) *at++ = -value * kCanaries / kClipNorm;
    }
    const at::Tensor centred = at::matmul(gradients_, sum) - gram_.sum(1) / 2;
    const double ridge = 4 * z * z + 1e-6;  // a coin has variance 1/4
    const at::Tensor scores =
        at::linalg_solve(gram_ + ridge * at::eye(kCanaries, at::kDouble), centred).contiguous();
    return {scores.data_ptr<double>(), scores.data_ptr<double>() + kCanaries};
  }

  double Audited(ExamplePrivacy privacy, double z, uint32_t seed) {
    privacy.noise_multiplier = z;
    RandomCursor coins(RandomStream(seed, Purpose::kSampling, 0));
    std::vector<bool> there;
    std::vector<Example> present;
    for (const Example& example : work_.examples) {
      there.push_back(coins.Bounded(2) == 1);
      if (there.back()) present.push_back(example);
    }
    const auto noise = GradientNoiseOf(Secret32(Sha256Of("example audit " + std::to_string(seed))));
    TuneRequest request = work_.RequestOf(privacy, *noise);
    request.examples = present;
    const auto result = work_.Tune(request);
    EXPECT_TRUE(result.ok()) << result.status();
    const double audited =
        AuditedEpsilon(GuessCanaries(Scores(result->delta, z), there, kEach), kDelta, kChance);
    RecordProperty("audited-" + std::to_string(z) + "-" + std::to_string(seed),
                   std::to_string(audited));
    return audited;
  }

  int64_t Numbers() const { return TrainableState(work_.state).size(); }

  static constexpr double kClipNorm = 0.01;  // below the norm of every canary's gradient

  testing::PrivateWork work_;
  at::Tensor gradients_, gram_;  // [m, n], [m, m]
};

// Four audits: one that refutes a true claim by chance 4e-6.
TEST_F(ExampleAudit, NeverPassesTheClaim) {
  for (const double z : {0.5, 3.0}) {
    const Promise promise = PromiseFor(z);
    for (uint32_t seed = 1; seed <= 2; ++seed) {
      const double audited = Audited(promise.privacy, z, seed);
      EXPECT_LE(audited, promise.spent.pld) << "z " << z << ", seed " << seed;
    }
  }
}

TEST_F(ExampleAudit, IsFarAboveZeroWithoutNoise) {
  EXPECT_GT(Audited(PromiseFor(1).privacy, 0, 1), 2);
}

// The test can fail: noise a tenth of what is claimed is found out.
TEST_F(ExampleAudit, FindsNoiseThatIsTenTimesTooSmall) {
  const Promise promise = PromiseFor(3);
  EXPECT_GT(Audited(promise.privacy, 0.3, 1), promise.spent.pld);
}

}  // namespace
}  // namespace rivulet
