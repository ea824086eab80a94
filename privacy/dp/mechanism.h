#pragma once

#include <cstdint>
#include <span>

#include "common/status.h"
#include "privacy/dp/distributed.h"
#include "privacy/dp/events.h"
#include "privacy/dp/noise_seed.h"

namespace rivulet {

// ---- Central noise: a trusted coordinator adds it once, to the integer sum of clipped updates
// ----

// On the grid of FixedPointSum, 2^-24.
struct CentralNoise {
  double noise_multiplier = 0;  // z, > 0
  double clip_norm = 0;         // C, > 0
  int64_t values = 0;           // coordinates of the update, >= 1

  // What one update can move the integer sum by, in grid steps: C 2^24 + sqrt(values)/2, where the
  // second term is the rounding of its values to the grid.
  double Sensitivity() const;
  // ceil((z * Sensitivity())^2): the variance of the discrete Gaussian, in grid steps^2.
  // Errors: InvalidArgument for a field out of range; OutOfRange when the variance is above
  // kMostVariance, i.e. z C above about 22.
  absl::StatusOr<uint64_t> Variance() const;
};

// The integer at or above a variance that was computed in double (whose own error is covered by its
// last bit). Errors: OutOfRange above kMostVariance.
absl::StatusOr<uint64_t> VarianceAbove(double variance);

// Noise of a round comes in blocks of this many coordinates, each from a stream of its own, so any
// stretch of blocks can be made, and made again, by itself and by any thread.
inline constexpr int64_t kNoiseBlock = 1 << 16;

// out[i] += discrete Gaussian noise of coordinate first + i. `first` is a multiple of kNoiseBlock;
// `out` ends at the vector's end or at a multiple too (callers that break this get other noise than
// the rest of the round: InvalidArgument for `first`). The same seed and variance give the same
// noise. Errors: InvalidArgument, OutOfRange for variance 0 or above kMostVariance or when a sum
// would leave int64 (nothing useful is in `out` then).
absl::Status AddCentralNoise(const NoiseSeed& seed, uint64_t variance, int64_t first,
                             std::span<int64_t> out);

// The same for any purpose of a seed: out[i] += sign * noise, sign 1 or -1.
absl::Status AddBlockNoise(const NoiseSeed& seed, std::string_view purpose, uint64_t variance,
                           int sign, int64_t first, std::span<int64_t> out);

// The fixed denominator of the mean: q N (N when everybody takes part), never the number received,
// which would be a second release. Errors: InvalidArgument unless 0 < q <= 1 and population >= 1.
absl::StatusOr<double> FixedDenominator(double q, int64_t population);

// ---- Distributed noise: every client adds a share before the secure sum
// --------------------------

// Everything both sides must agree on before the session; computed by each from public numbers.
struct DistributedPlan {
  double scale = 0;             // s: grid steps per unit of the clip norm
  double norm_bound = 0;        // B, grid steps
  double local_sigma = 0;       // z C / sqrt(n_eff), unit of C
  uint64_t local_variance = 0;  // ceil((s sigma)^2), grid steps^2
  uint64_t bit_variance = 0;    // of a client's noise on its adaptive-clipping bit; 0 without
  int ring_bits = 0;            // b_acc + 2
};
struct DistributedNoise {
  DistributedEvent::Noise noise = DistributedEvent::Noise::kDiscreteGaussian;
  double noise_multiplier = 0;  // of the data: z, or z_delta with an adaptive-clipping bit
  double total_multiplier = 0;  // z when such a bit is in the sum too, 0 without
  double clip_norm = 0;
  int64_t values = 0;  // padded length of the data part
  int accumulator_bits = 20;
  SessionShape session;

  // The bit's noise has (z^-2 - z_delta^-2)^(-1/2) times the weight of a bit as its standard
  // deviation, of the shares counted on together. Errors: InvalidArgument naming the field, also
  // when the ring has no room for the bits and 12 deviations of their noise; see EncodingScale and
  // SessionShape::Shares.
  absl::StatusOr<DistributedPlan> Plan() const;
  // Relation ZeroOut: cohorts are of fixed size, and everybody in one knows who else is.
  absl::StatusOr<PrivacyEvent> Event(int64_t steps = 1) const;
};

// Adds one client's share to its rounded vector. The seed is fresh for every attempt and never
// leaves the client. Errors: as AddCentralNoise.
absl::Status AddNoiseShare(const NoiseSeed& seed, DistributedEvent::Noise noise, uint64_t variance,
                           std::span<int64_t> values);

// |z_j| < 2^(ring_bits - 2) for every coordinate of an opened sum: outside, the noise wrapped the
// ring or the unmasking failed, and nothing may be published.
// Errors: DataLoss naming the first coordinate. ring_bits 3..63.
absl::Status CheckSumRange(std::span<const int64_t> sum, int ring_bits);

}  // namespace rivulet
