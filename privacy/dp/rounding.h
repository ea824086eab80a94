#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "privacy/dp/word_source.h"

namespace rivulet {

// exp(-1/2): the share of roundings that conditional rounding may reject.
inline constexpr double kRoundingBeta = 0.60653065971263342;

// The norm bound B of a vector of norm <= scaled_norm (= s C) after conditional stochastic rounding
// of `values` (padded) coordinates, in grid steps:
//   min( sC + sqrt(d), sqrt( (sC)^2 + d/4 + sqrt(2 ln(1/beta)) (sC + sqrt(d)/2) ) )
// scaled_norm > 0, values >= 1, 0 < beta < 1.
// Source: Kairouz, Liu, Steinke 2021 (2102.06387), Proposition 22.
double RoundedNormBound(double scaled_norm, int64_t values, double beta = kRoundingBeta);

struct ScaleInput {
  int accumulator_bits = 20;  // b_acc: the ring has two more
  int64_t most_clients = 0;   // n_max
  double clip_norm = 0;       // C
  double local_sigma = 0;     // z C / sqrt(n_eff), unit of C
  int64_t values = 0;         // padded length d
  double kappa = 4;
  double rho = 1;
};
// Grid steps per unit of the clip norm,
//   s = sqrt(2^(2 b_acc) - n kappa^2) / (2 kappa sqrt(rho C^2 n^2 / d + n sigma^2)).
// Errors: InvalidArgument when a field is out of range or 2^(2 b_acc) < n kappa^2.
absl::StatusOr<double> EncodingScale(const ScaleInput& input);

// floor(t) + [r < floor((t - floor(t)) 2^32)] for t = value * scale, r the next 32 random bits: the
// low half of a word first, then its high half. `words` must be the client's own secret stream.
// Errors: InvalidArgument when |value * scale| >= 2^52 or is not finite.
absl::Status RoundStochastically(std::span<const float> values, double scale, WordSource& words,
                                 std::span<int64_t> out);
absl::Status RoundStochastically(std::span<const double> values, double scale, WordSource& words,
                                 std::span<int64_t> out);

inline constexpr int kRoundingTries = 64;
// Rounds until sum q^2 <= floor(bound^2); FailedPrecondition after 64 tries (then nothing is sent).
// Returns how many roundings were drawn.
absl::StatusOr<int> RoundWithinNorm(std::span<const float> values, double scale, double bound,
                                    WordSource& words, std::span<int64_t> out);
absl::StatusOr<int> RoundWithinNorm(std::span<const double> values, double scale, double bound,
                                    WordSource& words, std::span<int64_t> out);

}  // namespace rivulet
