#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace rivulet {

// The privacy loss of one release, on the grid of losses first*grid, (first+1)*grid, ...
// Pessimistic: its delta(epsilon) is at or above the true curve everywhere, and equal to it at the
// grid points ("connect the dots", Doroshenko et al. 2022).
struct LossDistribution {
  double grid = 0;
  int64_t first = 0;
  std::vector<double> mass;
  double infinite = 0;  // mass at loss +infinity
  double mean = 0;      // of the finite part, nats
  double variance = 0;

  // ln E[exp(+-lambda loss)] over the finite part for lambda = 2^k, k from kLeastPower: Chernoff
  // bounds of compositions.
  static constexpr int kLeastPower = -5;
  static constexpr int kPowers = 20;
  using Moments = std::array<double, kPowers>;
  Moments upper = {}, lower = {};
};

// A unit takes part in both directions of AddRemoveOne.
struct LossPair {
  LossDistribution remove;
  LossDistribution add;
};

// Mixture of Gaussians sum_k weights[k] N(k, sigma^2) against N(0, sigma^2). {1-q, q} is the
// Poisson-subsampled Gaussian, {0, 1} the Gaussian, Binomial(g, q) a unit of g independent records.
struct GaussianMixture {
  double sigma = 0;             // >= kLeastSigma
  std::vector<double> weights;  // at least two, of sum 1

  static constexpr double kLeastSigma = 0.02;
  static GaussianMixture Sampled(double q, double sigma) { return {sigma, {1 - q, q}}; }
  static GaussianMixture Group(int64_t members, double q, double sigma);

  double Loss(double x) const;  // ln of the density ratio at x, increasing
  double LossVariance() const;  // under N(0, sigma^2), roughly: what a grid should resolve
  double LossWidth() const;     // of the range that is put on the grid, nats
};

inline constexpr double kDefaultGrid = 1e-4;

LossPair LossPairOf(const GaussianMixture& mixture, double grid = kDefaultGrid);

}  // namespace rivulet
