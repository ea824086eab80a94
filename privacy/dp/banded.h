#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "privacy/dp/noise_seed.h"

namespace rivulet {

// Banded matrix factorisation (Choquette-Choo et al. 2306.08153): the noise of round t is
// (C^-1 z)_t for a lower-triangular Toeplitz C with `bands` coefficients, so rounds after the first
// take back a part of the noise before.

// c_0 = 1, c_k = c_{k-1} (2k-1)/(2k): the square root of the prefix-sum matrix. bands >= 1.
std::vector<double> SquareRootCoefficients(int bands);
double ColumnNormSquared(std::span<const double> coefficients);
// w_t = z_t - sum_{j=1}^{bands-1} c_j w_{t-j}, in fp64: the recursion to compare with.
std::vector<double> BandedResponse(std::span<const double> coefficients, std::span<const double> z);

// The noise as the coordinator adds it: on the integer grid of FixedPointSum, with
//   w_t = z_t - round( sum_j c_j w_{t-j} ),   z_t discrete Gaussian, c_j multiples of 2^-32.
// To somebody who sees x_t + w_t, another contribution shifts z by integers: by C times itself, and
// by at most one more in each coordinate of the bands - 1 rounds after it, because two roundings
// differ by at most one more than what they round. Sensitivity() contains that.
struct BandedNoise {
  double noise_multiplier = 0;  // z, > 0: the cost of the whole run, see BandedEvent
  double clip_norm = 0;         // C_clip, > 0
  int64_t values = 0;           // coordinates, >= 1
  int bands = 1;                // bhat, 1..1024
  int64_t participations = 1;   // kp: of one client, at least `bands` rounds apart (MayTakePart)
  double contribution = 0;      // norm of one client's in a sum, grid steps; 0: that of clip_norm

  // sqrt(kp) (||c|| (C 2^24 + sqrt(values)/2) + sqrt((bands-1) values)), grid steps. Sources: the
  // paper's Theorem 2 for bands that do not overlap; the last term is this implementation's.
  double Sensitivity() const;
  // ceil((z Sensitivity())^2). Errors: as CentralNoise::Variance.
  absl::StatusOr<uint64_t> Variance() const;
};

// Makes the noise of one round for the coordinates first..: reads the w of the rounds before,
// newest first, as many as there are up to bands - 1, each as long as `out`. Keep these vectors as
// secret as the seeds, or make them again from the seeds of all rounds in order. Errors:
// InvalidArgument for lengths or `first` (a multiple of kNoiseBlock); OutOfRange when a value
// leaves 2^62.
absl::Status MakeBandedNoise(const BandedNoise& noise, const NoiseSeed& seed, int64_t first,
                             std::span<const std::span<const int64_t>> before,
                             std::span<int64_t> out);

// Whether a client that took part in round `last` (0: never), `taken` times in all, may take part
// in `round`: at least `bands` rounds later, and at most `participations` times. The schedule
// enforces it from a counter that is stored with the client.
bool MayTakePart(const BandedNoise& noise, int64_t last, int64_t taken, int64_t round);

}  // namespace rivulet
