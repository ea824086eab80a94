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

class KeyedGradientNoise final : public GradientNoise {
 public:
  explicit KeyedGradientNoise(const Secret32& key) : words_(key.bytes()) {}

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

absl::StatusOr<ExamplePrivacy> ExamplePrivacyOf(const JobSpec& spec, size_t examples) {
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
  ExamplePrivacy privacy;
  privacy.clip_norm = spec.privacy.clip_norm;
  privacy.batch_size = batch;
  privacy.steps = static_cast<uint64_t>(train.max_steps);
  privacy.sample_rate = std::min(1.0, batch / static_cast<double>(std::max<size_t>(examples, 1)));
  privacy.noise_multiplier = spec.privacy.noise_multiplier;
  if (privacy.noise_multiplier > 0) return privacy;
  const auto all_steps = int64_t{train.max_steps} * spec.job.num_rounds;
  RV_ASSIGN_OR_RETURN(privacy.noise_multiplier,
                      MultiplierFor({spec.privacy.target_epsilon, spec.privacy.target_delta,
                                     privacy.sample_rate, all_steps}));
  return privacy;
}

ExampleRelease ReleaseOf(const ExamplePrivacy& privacy, const std::string& job, uint64_t round,
                         uint32_t attempt) {
  return {job,
          round,
          attempt,
          privacy.sample_rate,
          privacy.noise_multiplier,
          static_cast<int64_t>(privacy.steps)};
}

std::unique_ptr<GradientNoise> GradientNoiseOf(const Secret32& key) {
  return std::make_unique<KeyedGradientNoise>(key);
}

std::unique_ptr<GradientNoise> NewSecretGradientNoise() {
  return GradientNoiseOf(SystemEntropy().Secret());
}

}  // namespace rivulet
