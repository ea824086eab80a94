#include "privacy/dp/banded.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "privacy/dp/mechanism.h"

namespace rivulet {
namespace {

constexpr int kCoefficientBits = 32;
constexpr int64_t kWaveLimit = int64_t{1} << 62;

std::vector<int64_t> FixedCoefficients(int bands) {
  std::vector<int64_t> fixed;
  for (const double coefficient : SquareRootCoefficients(bands)) {
    fixed.push_back(std::llround(std::ldexp(coefficient, kCoefficientBits)));
  }
  return fixed;
}

// Half a step is rounded up.
__int128 RoundedShift(__int128 sum) {
  return (sum + (__int128{1} << (kCoefficientBits - 1))) >> kCoefficientBits;
}

absl::Status CheckBanded(const BandedNoise& noise) {
  if (noise.bands >= 1 && noise.bands <= 1024 && noise.participations >= 1) {
    return absl::OkStatus();
  }
  return Refuse(absl::StatusCode::kInvalidArgument,
                "banded noise: got " + std::to_string(noise.bands) + " bands and " +
                    std::to_string(noise.participations) +
                    " participations, want 1..1024 and 1 or more");
}

}  // namespace

std::vector<double> SquareRootCoefficients(int bands) {
  std::vector<double> coefficients = {1.0};
  for (int k = 1; k < bands; ++k) {
    coefficients.push_back(coefficients.back() * (2.0 * k - 1) / (2.0 * k));
  }
  return coefficients;
}

double ColumnNormSquared(std::span<const double> coefficients) {
  double sum = 0;
  for (const double coefficient : coefficients) sum += coefficient * coefficient;
  return sum;
}

std::vector<double> BandedResponse(std::span<const double> coefficients,
                                   std::span<const double> z) {
  std::vector<double> w;
  for (size_t t = 0; t < z.size(); ++t) {
    double value = z[t];
    for (size_t j = 1; j < coefficients.size() && j <= t; ++j) value -= coefficients[j] * w[t - j];
    w.push_back(value);
  }
  return w;
}

double BandedNoise::Sensitivity() const {
  // Each coefficient is off by at most 2^-33 when it is made a multiple of 2^-32.
  const double norm = std::sqrt(ColumnNormSquared(SquareRootCoefficients(bands))) +
                      std::sqrt(static_cast<double>(bands)) * 0x1p-33;
  const double one = contribution > 0
                         ? contribution
                         : CentralNoise{noise_multiplier, clip_norm, values}.Sensitivity();
  const double roundings = std::sqrt(static_cast<double>(bands - 1) * static_cast<double>(values));
  return std::sqrt(static_cast<double>(participations)) * (norm * one + roundings);
}

absl::StatusOr<uint64_t> BandedNoise::Variance() const {
  RV_RETURN_IF_ERROR(CheckBanded(*this));
  // A contribution that is given in grid steps has no clip norm to be checked.
  const double clip = contribution > 0 ? 0x1p-24 : clip_norm;
  RV_RETURN_IF_ERROR((CentralNoise{noise_multiplier, clip, values}.Variance().status()));
  const double stddev = noise_multiplier * Sensitivity();
  return VarianceAbove(stddev * stddev);
}

absl::Status MakeBandedNoise(const BandedNoise& noise, const NoiseSeed& seed, int64_t first,
                             std::span<const std::span<const int64_t>> before,
                             std::span<int64_t> out) {
  RV_ASSIGN_OR_RETURN(const uint64_t variance, noise.Variance());
  if (before.size() > static_cast<size_t>(noise.bands - 1)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "banded noise: got " + std::to_string(before.size()) +
                      " rounds before, want at most " + std::to_string(noise.bands - 1));
  }
  for (const std::span<const int64_t> wave : before) {
    if (wave.size() == out.size()) continue;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "banded noise: got a round before of " + std::to_string(wave.size()) +
                      " values, want " + std::to_string(out.size()));
  }
  std::fill(out.begin(), out.end(), 0);
  RV_RETURN_IF_ERROR(AddBlockNoise(seed, "banded", variance, 1, first, out));
  const std::vector<int64_t> coefficients = FixedCoefficients(noise.bands);
  for (size_t at = 0; at < out.size(); ++at) {
    __int128 sum = 0;
    for (size_t j = 0; j < before.size(); ++j) {
      sum += __int128{coefficients[j + 1]} * before[j][at];
    }
    const __int128 value = out[at] - RoundedShift(sum);
    if (value >= kWaveLimit || value <= -kWaveLimit) {
      return Refuse(absl::StatusCode::kOutOfRange,
                    "banded noise: got a value beyond 2^62, want less: the rounds before are not "
                    "this run's");
    }
    out[at] = static_cast<int64_t>(value);
  }
  return absl::OkStatus();
}

bool MayTakePart(const BandedNoise& noise, int64_t last, int64_t taken, int64_t round) {
  if (taken >= noise.participations) return false;
  return taken == 0 || round - last >= noise.bands;
}

}  // namespace rivulet
