#include "client/runtime/example_guard.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "privacy/crypto/entropy.h"
#include "privacy/dp/budget.h"
#include "privacy/dp/calibration.h"
#include "privacy/dp/sampler.h"
#include "privacy/dp/word_source.h"

namespace rivulet {
namespace {

class SecretGradientNoise final : public GradientNoise {
 public:
  explicit SecretGradientNoise(const Secret32& key) : words_(key.bytes()) {}

  absl::Status Draw(std::span<uint64_t> words) override {
    for (uint64_t& word : words) word = words_.Next();
    return absl::OkStatus();
  }
  absl::Status Add(uint64_t variance, std::span<int64_t> sums) override {
    RV_ASSIGN_OR_RETURN(const DiscreteGaussian noise, DiscreteGaussian::Make(variance));
    for (int64_t& sum : sums) sum += noise.Draw(words_);
    return absl::OkStatus();
  }

 private:
  AesWords words_;
};

// Calibration takes seconds; clients of one size ask for the same.
absl::StatusOr<double> MultiplierFor(const NoiseTarget& target) {
  static std::mutex mutex;
  static std::map<std::tuple<double, double, double, int64_t>, double> known;
  const std::lock_guard lock(mutex);
  const std::tuple key(target.epsilon, target.delta, target.q, target.steps);
  if (const auto found = known.find(key); found != known.end()) return found->second;
  const absl::StatusOr<CalibratedNoise> noise = CalibrateNoise(target);
  if (!noise.ok()) {
    return WithExit(Annotate(noise.status(), "privacy.target-epsilon"), ExitCode::kConfig);
  }
  return known[key] = noise->sigma;
}

}  // namespace

absl::StatusOr<ExampleGuard> GuardExamples(const JobSpec& spec, size_t examples, uint64_t round) {
  const TrainSection& train = spec.train;
  if (train.max_steps == 0) {
    return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                           "privacy.mechanism = \"example\" and train.max-steps = 0: the steps of "
                           "a round must not depend on the data; want max-steps >= 1"),
                    ExitCode::kConfig);
  }
  const absl::StatusOr<std::string> large =
      CheckDelta(spec.privacy.target_delta, std::max<int64_t>(static_cast<int64_t>(examples), 1));
  if (!large.ok()) {
    return WithExit(Annotate(large.status(), "privacy.target-delta of the examples here"),
                    ExitCode::kConfig);
  }
  if (!large->empty()) spdlog::warn("privacy.target-delta of the examples here: {}", *large);
  const double batch =
      double{1} * train.per_device_train_batch_size * train.gradient_accumulation_steps;
  ExampleGuard guard;
  guard.privacy.clip_norm = spec.privacy.clip_norm;
  guard.privacy.batch_size = batch;
  guard.privacy.steps = static_cast<uint64_t>(train.max_steps);
  guard.privacy.sample_rate =
      std::min(1.0, batch / static_cast<double>(std::max<size_t>(examples, 1)));
  const auto all_steps = int64_t{train.max_steps} * spec.job.num_rounds;
  guard.privacy.noise_multiplier = spec.privacy.noise_multiplier;
  if (guard.privacy.noise_multiplier == 0) {
    RV_ASSIGN_OR_RETURN(guard.privacy.noise_multiplier,
                        MultiplierFor({spec.privacy.target_epsilon, spec.privacy.target_delta,
                                       guard.privacy.sample_rate, all_steps}));
  }
  Accountant accountant(PrivacyUnit::kExample);
  const auto steps = static_cast<int64_t>(round) * train.max_steps;
  const NoiseMultiplier<AddRemoveOne> z{guard.privacy.noise_multiplier};
  const PrivacyEvent event =
      guard.privacy.sample_rate < 1
          ? PrivacyEvent(PoissonGaussianEvent(guard.privacy.sample_rate, z, steps))
          : PrivacyEvent(GaussianEvent(z, steps));
  RV_RETURN_IF_ERROR(accountant.Compose(event));
  RV_ASSIGN_OR_RETURN(guard.spent, accountant.EpsilonAt(spec.privacy.target_delta));
  if (guard.spent.pld <= spec.privacy.target_epsilon * (1 + 1e-9)) return guard;
  return WithExit(Refuse(absl::StatusCode::kResourceExhausted,
                         "privacy.target-epsilon: got " + FormatEpsilon(guard.spent.pld) +
                             " after round " + std::to_string(round) + ", want at most " +
                             FormatEpsilon(spec.privacy.target_epsilon)),
                  ExitCode::kBudget);
}

std::unique_ptr<GradientNoise> NewSecretGradientNoise() {
  return std::make_unique<SecretGradientNoise>(SystemEntropy().Secret());
}

}  // namespace rivulet
