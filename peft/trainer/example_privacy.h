#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"

// Local DP-SGD (Abadi et al. 2016): what a tuner that protects single examples needs to know. The
// unit is one record of one client, neighbours differ by one record more or less.

namespace rivulet {

struct ExamplePrivacy {
  double clip_norm = 1;         // L2 norm of one example's gradient over all trained tensors
  double noise_multiplier = 1;  // noise standard deviation / clip_norm; 0 = none (no privacy)
  double sample_rate = 1;       // each step takes each example with this probability, by itself
  uint64_t steps = 1;           // of this call, steps without a single example included
  // What the noised sum is divided by, in examples: fixed, whatever a step drew. 0 = sample_rate
  // times the number of examples, which then counts as public.
  double batch_size = 0;
};

// InvalidArgument naming the value that is out of range: clip_norm 1e-6..1e6, noise_multiplier
// 0..1e4, sample_rate above 0 and at most 1, steps 1..2^32, batch_size 0 or 1e-3..2^31.
absl::Status CheckExamplePrivacy(const ExamplePrivacy& privacy);

// Where the randomness of example privacy comes from. The trainer knows no cipher, so its caller
// gives one: a CSPRNG whose state neither the coordinator nor anybody else can derive; never the
// streams of common/random, whose roots are public. Not thread safe: one per call of Tune.
class GradientNoise {
 public:
  virtual ~GradientNoise() = default;
  // Fills `words` with independent uniform words. They decide which examples a step takes and
  // which activations are dropped; the claim to amplification by sampling rests on their secrecy.
  virtual absl::Status Draw(std::span<uint64_t> words) = 0;
  // Adds to each of `sums` an independent draw of the discrete Gaussian N_Z(0, variance): exact
  // integers (Canonne, Kamath, Steinke 2020), 1 <= variance <= 2^42.
  virtual absl::Status Add(uint64_t variance, std::span<int64_t> sums) = 0;
};

// The grid on which clipped gradients are added up: whole multiples of a power of two, so that
// neither the order of a sum nor the low bits of a float tell anything (Mironov 2012; Casacuberta
// et al. 2022).
struct GradientGrid {
  double step = 1;   // power of two, the finest that the limits of `bound` and `variance` allow
  double bound = 1;  // clip_norm / step, at most 2^31: the sensitivity of the sum in steps
  uint64_t variance = 0;  // of the noise in steps^2, above (noise_multiplier * bound)^2; 0 = none
};
// `privacy` must have passed CheckExamplePrivacy.
GradientGrid GridOf(const ExamplePrivacy& privacy);

// The sum of clipped gradients of one step. Not thread safe.
class ClippedSum {
 public:
  // Of gradients [n].
  ClippedSum(const ExamplePrivacy& privacy, int64_t n);

  void Clear();
  // Adds `gradient` [n] times min(1, clip_norm (1 - 1e-6) / norm), each number cut to the grid
  // towards zero: what one call adds has a norm of at most grid().bound, checked in integers. At
  // most 2^31 calls between two of Clear. Errors: Internal for a number that is not finite.
  absl::Status Add(std::span<const float> gradient);
  // Once a step. Errors: those of `noise`.
  absl::Status AddNoise(GradientNoise& noise);
  // out [n] = the sum / batch_size.
  void Average(double batch_size, std::span<float> out) const;

  const GradientGrid& grid() const { return grid_; }
  std::span<const int64_t> sums() const { return sums_; }  // [n], in steps of the grid

 private:
  double clip_norm_;
  GradientGrid grid_;
  std::vector<int64_t> sums_;
};

// Positions of the examples that one step takes of `n`: each by itself with probability `rate`
// (rounded down to a multiple of 2^-64), in rising order; often none. Errors: those of `noise`.
absl::StatusOr<std::vector<uint32_t>> PoissonSample(double rate, uint32_t n, GradientNoise& noise);

}  // namespace rivulet
