#pragma once

#include <cstdint>
#include <span>

#include "common/status.h"
#include "privacy/dp/word_source.h"

namespace rivulet {

// Exact samplers on integers: no floating point, so no low bits that betray the data (Mironov
// 2012). Source: Canonne, Kamath, Steinke 2020, Algorithms 1-3. The words that each reads are part
// of the format: vectors/dp_sampler.json. Their running time depends on the noise drawn: draw ahead
// of need, in batches.

using Unsigned128 = unsigned __int128;

// Uniform in [0, m). m >= 1 and < 2^127.
Unsigned128 UniformBelow(WordSource& words, Unsigned128 m);
// True with probability a/b, 0 <= a <= b, b >= 1.
bool Bernoulli(WordSource& words, Unsigned128 a, Unsigned128 b);
// True with probability exp(-a/b), b >= 1. The k-th draw needs b k < 2^127, else the process ends:
// for b < 2^117 a chance below 1/1024!.
bool BernoulliExp(WordSource& words, Unsigned128 a, Unsigned128 b);
// P(x) proportional to exp(-|x|/t), t >= 1.
int64_t DiscreteLaplace(WordSource& words, uint64_t t);

// Variance P / Q of a discrete Gaussian on the integers.
inline constexpr uint64_t kMostVariance = uint64_t{1} << 57;
class DiscreteGaussian {
 public:
  // Errors: InvalidArgument when P or Q is 0; OutOfRange when P > 2^57 or Q t^2 > 2^57, where t =
  // floor(sqrt(floor(P/Q))) + 1.
  static absl::StatusOr<DiscreteGaussian> Make(uint64_t p, uint64_t q = 1);

  int64_t Draw(WordSource& words) const;
  void Fill(WordSource& words, std::span<int64_t> out) const;

 private:
  DiscreteGaussian(uint64_t p, uint64_t q, uint64_t t);
  uint64_t p_, q_, t_;
  Unsigned128 denominator_;  // 2 P Q t^2
};

// Poisson with mean m > 0; Skellam = difference of two Poisson(variance / 2).
inline constexpr uint64_t kMostPoissonMean = uint64_t{1} << 44;
absl::StatusOr<uint64_t> DrawPoisson(WordSource& words, uint64_t mean);
absl::StatusOr<int64_t> DrawSkellam(WordSource& words, uint64_t variance);

}  // namespace rivulet
