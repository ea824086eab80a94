#include "privacy/dp/mechanism.h"

#include <cmath>
#include <string>
#include <vector>

#include "privacy/dp/adaptive_clip.h"
#include "privacy/dp/rounding.h"
#include "privacy/dp/sampler.h"

namespace rivulet {
namespace {

constexpr double kGrid = 0x1p24;  // of FixedPointSum

absl::Status BadNoise(std::string_view field, const std::string& got, std::string_view want) {
  return Refuse(absl::StatusCode::kInvalidArgument,
                "noise: " + std::string(field) + ": got " + got + ", want " + std::string(want));
}

absl::Status CheckPositive(std::string_view field, double value) {
  if (value > 0 && std::isfinite(value)) return absl::OkStatus();
  return BadNoise(field, std::to_string(value), "a finite number above 0");
}

// Adds what `draw` gives. Errors: OutOfRange when a sum leaves int64.
template <typename Draw>
absl::Status AddDrawn(std::span<int64_t> out, int sign, Draw&& draw) {
  for (int64_t& value : out) {
    if (__builtin_add_overflow(value, sign * draw(), &value)) {
      return Refuse(absl::StatusCode::kOutOfRange, "noise: got a sum beyond 64 bits, want less");
    }
  }
  return absl::OkStatus();
}

// Where vector and bit have their noise from the same clients. A Skellam bit costs more than a
// Gaussian of its variance, by less than 1.1 grid steps^2 of it would pay for: the cost that is
// counted is that of the Gaussian, so it gets two more.
absl::StatusOr<uint64_t> BitVariance(const DistributedNoise& noise, const NoiseShares& shares) {
  const double z = noise.total_multiplier, vector = noise.noise_multiplier;
  if (!(z < vector)) {
    return BadNoise("total multiplier", std::to_string(z), "less than that of the data");
  }
  constexpr auto kWeight = static_cast<double>(kBitWeight);
  const double all = kWeight * kWeight / (1 / (z * z) - 1 / (vector * vector));
  RV_ASSIGN_OR_RETURN(uint64_t one, VarianceAbove(all / static_cast<double>(shares.effective())));
  if (noise.noise == DistributedEvent::Noise::kSkellam) one += 2 + one % 2;
  const auto clients = static_cast<double>(shares.most());
  const double largest = kWeight * clients + 12 * std::sqrt(clients * static_cast<double>(one));
  if (largest < std::ldexp(1.0, noise.accumulator_bits)) return one;
  return BadNoise("accumulator bits", std::to_string(noise.accumulator_bits),
                  "enough for adaptive-clipping bits and their noise, up to " +
                      std::to_string(static_cast<int64_t>(largest)));
}

absl::Status AddSkellamShare(const NoiseSeed& seed, uint64_t variance, std::span<int64_t> values) {
  const uint64_t even = variance + variance % 2;
  AesWords words = seed.Words("share");
  RV_RETURN_IF_ERROR(DrawSkellam(words, even).status());  // is the variance in range?
  return AddDrawn(values, 1, [&] { return *DrawSkellam(words, even); });
}

}  // namespace

absl::StatusOr<uint64_t> VarianceAbove(double variance) {
  const double above = std::ceil(std::nextafter(variance, HUGE_VAL));
  if (!(above <= static_cast<double>(kMostVariance))) {
    return Refuse(absl::StatusCode::kOutOfRange,
                  "noise: variance: got " + std::to_string(variance) +
                      " grid steps^2, want at most 2^57: lower the clip norm or the scale");
  }
  return static_cast<uint64_t>(above);
}

double CentralNoise::Sensitivity() const {
  return clip_norm * kGrid + std::sqrt(static_cast<double>(values)) / 2;
}

absl::StatusOr<uint64_t> CentralNoise::Variance() const {
  RV_RETURN_IF_ERROR(CheckPositive("noise multiplier", noise_multiplier));
  RV_RETURN_IF_ERROR(CheckPositive("clip norm", clip_norm));
  if (values < 1) return BadNoise("values", std::to_string(values), "1 or more");
  const double stddev = noise_multiplier * Sensitivity();
  return VarianceAbove(stddev * stddev);
}

absl::Status AddBlockNoise(const NoiseSeed& seed, std::string_view purpose, uint64_t variance,
                           int sign, int64_t first, std::span<int64_t> out) {
  RV_ASSIGN_OR_RETURN(const DiscreteGaussian gaussian, DiscreteGaussian::Make(variance));
  if (first < 0 || first % kNoiseBlock != 0) {
    return BadNoise("first", std::to_string(first), "a multiple of 65536");
  }
  auto block = static_cast<uint64_t>(first / kNoiseBlock);
  for (size_t at = 0; at < out.size(); at += kNoiseBlock, ++block) {
    AesWords words = seed.Words(purpose, block);
    const size_t size = std::min(static_cast<size_t>(kNoiseBlock), out.size() - at);
    RV_RETURN_IF_ERROR(AddDrawn(out.subspan(at, size), sign, [&] { return gaussian.Draw(words); }));
  }
  return absl::OkStatus();
}

absl::Status AddCentralNoise(const NoiseSeed& seed, uint64_t variance, int64_t first,
                             std::span<int64_t> out) {
  return AddBlockNoise(seed, "data", variance, 1, first, out);
}

absl::StatusOr<double> FixedDenominator(double q, int64_t population) {
  if (!(q > 0 && q <= 1)) return BadNoise("q", std::to_string(q), "above 0 and at most 1");
  if (population < 1) return BadNoise("population", std::to_string(population), "1 or more");
  return q * static_cast<double>(population);
}

absl::StatusOr<DistributedPlan> DistributedNoise::Plan() const {
  RV_RETURN_IF_ERROR(CheckPositive("noise multiplier", noise_multiplier));
  RV_RETURN_IF_ERROR(CheckPositive("clip norm", clip_norm));
  RV_ASSIGN_OR_RETURN(const NoiseShares shares, session.Shares());
  DistributedPlan plan{.ring_bits = accumulator_bits + 2};
  plan.local_sigma =
      noise_multiplier * clip_norm / std::sqrt(static_cast<double>(shares.effective()));
  RV_ASSIGN_OR_RETURN(plan.scale, EncodingScale({.accumulator_bits = accumulator_bits,
                                                 .most_clients = shares.most(),
                                                 .clip_norm = clip_norm,
                                                 .local_sigma = plan.local_sigma,
                                                 .values = values}));
  plan.norm_bound = RoundedNormBound(plan.scale * clip_norm, values);
  const double stddev = plan.scale * plan.local_sigma;
  RV_ASSIGN_OR_RETURN(plan.local_variance, VarianceAbove(stddev * stddev));
  plan.local_variance += noise == DistributedEvent::Noise::kSkellam ? plan.local_variance % 2 : 0;
  if (total_multiplier > 0) {
    RV_ASSIGN_OR_RETURN(plan.bit_variance, BitVariance(*this, shares));
  }
  return plan;
}

absl::StatusOr<PrivacyEvent> DistributedNoise::Event(int64_t steps) const {
  RV_ASSIGN_OR_RETURN(const DistributedPlan plan, Plan());
  RV_ASSIGN_OR_RETURN(const NoiseShares shares, session.Shares());
  const auto variance = static_cast<double>(plan.local_variance);
  double bound = plan.norm_bound;
  if (total_multiplier > 0) {
    bound = NormBoundWithBit(bound, static_cast<double>(shares.effective()) * variance,
                             total_multiplier, noise_multiplier);
  }
  return DistributedEvent(ZeroOut{}, noise, bound, variance, values, shares, steps);
}

absl::Status AddNoiseShare(const NoiseSeed& seed, DistributedEvent::Noise noise, uint64_t variance,
                           std::span<int64_t> values) {
  return noise == DistributedEvent::Noise::kSkellam
             ? AddSkellamShare(seed, variance, values)
             : AddBlockNoise(seed, "share", variance, 1, 0, values);
}

absl::Status CheckSumRange(std::span<const int64_t> sum, int ring_bits) {
  if (ring_bits < 3 || ring_bits > 63) {
    return BadNoise("ring bits", std::to_string(ring_bits), "3..63");
  }
  const int64_t limit = int64_t{1} << (ring_bits - 2);
  for (size_t at = 0; at < sum.size(); ++at) {
    if (sum[at] > -limit && sum[at] < limit) continue;
    return Refuse(absl::StatusCode::kDataLoss, "opened sum: coordinate " + std::to_string(at) +
                                                   ": got " + std::to_string(sum[at]) +
                                                   ", want less than 2^" +
                                                   std::to_string(ring_bits - 2) + " either way");
  }
  return absl::OkStatus();
}

}  // namespace rivulet
