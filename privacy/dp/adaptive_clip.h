#pragma once

#include <cstdint>

#include "common/status.h"

namespace rivulet {

// The clip norm follows a quantile of the updates' norms, learnt from one noised bit of each client
// (Andrew et al. 1905.03871). The bit goes into the sum as b - 1/2, so one client moves it by 1/2.
struct AdaptiveClip {
  static constexpr double kLeast = 1e-4, kMost = 1e3;

  double target_quantile = 0.5;         // gamma, 0..1
  double learning_rate = 0.2;           // eta, > 0
  double bit_sigma = 0;                 // sigma_b of the noise on the sum of bits; 0: expected / 20
  int64_t expected = 0;                 // n: clients expected in a cohort, fixed and public, >= 1
  double least = kLeast, most = kMost;  // bounds of C

  double BitSigma() const { return bit_sigma > 0 ? bit_sigma : static_cast<double>(expected) / 20; }
  absl::Status Validate() const;  // InvalidArgument naming the field

  // z_delta = (z^-2 - (2 sigma_b)^-2)^(-1/2): with this noise multiplier on the vector, vector and
  // bit together cost what z costs. Errors: InvalidArgument when z >= 2 sigma_b: the bit alone
  // would already cost more.
  absl::StatusOr<double> VectorNoiseMultiplier(double z) const;

  // The mean bit that is published: 1/2 + noised_sum / n, where noised_sum = sum (b - 1/2) + noise.
  // Divided by the fixed n, never by the number received.
  double MeanBit(double noised_sum) const;
  // C exp(-eta (mean_bit - gamma)), within the bounds.
  double Next(double clip_norm, double mean_bit) const;
};

// The same in the ring: coordinate 64 (2 b - 1), i.e. 128 (b - 1/2), with noise of standard
// deviation 128 sigma_b on the sum.
inline constexpr int64_t kBitWeight = 64;
inline constexpr int64_t ClipBitCoordinate(bool within) {
  return within ? kBitWeight : -kBitWeight;
}
// Variance of all the noise on the summed coordinate, rounded up.
// Errors: OutOfRange above kMostVariance.
absl::StatusOr<uint64_t> ClipBitVariance(double bit_sigma);
// sum of coordinates, noise included -> noised sum of (b - 1/2).
inline double NoisedBitSum(int64_t coordinate) {
  return static_cast<double>(coordinate) / (2 * kBitWeight);
}

}  // namespace rivulet
