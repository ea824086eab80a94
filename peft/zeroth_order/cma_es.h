#pragma once

#include <cstdint>
#include <span>
#include <vector>

// Search without gradients: a normal distribution moves towards the candidates that lose least and
// takes their shape. Reads losses by their order alone. Knows no libtorch.
//
// Source: Hansen 2016, "The CMA Evolution Strategy: A Tutorial" (positive weights), with candidates
// and the path of the step size through the Cholesky factor of the covariance instead of its
// symmetric root (Krause, Arbones & Igel 2016): no eigenvectors, and the same distribution of
// candidates.

namespace rivulet {

// The constants of n numbers and `population` candidates (eqs. 49 to 58 of the tutorial).
struct CmaEsConstants {
  std::vector<double> weights;  // of the best floor(population / 2), falling, sum 1
  double mu_eff = 0;            // 1 / sum of squared weights
  double c_sigma = 0, d_sigma = 0;
  double c_c = 0, c_1 = 0, c_mu = 0;
  double chi = 0;  // expected norm of n normal numbers
};
// n >= 1, population >= 2.
CmaEsConstants CmaEsConstantsOf(int64_t n, int population);

// One search. Memory: 2 n^2 + population * n doubles. Not thread safe.
class CmaEs {
 public:
  struct Settings {
    int population = 20;  // >= 2
    double sigma = 1;     // > 0: deviation of each number among the first candidates
    uint64_t root = 0;    // candidates come from RandomStream(root, kDirection, iteration)
  };
  // Starts at `mean` [n], n >= 1.
  CmaEs(std::span<const float> mean, const Settings& settings);

  int population() const { return settings_.population; }
  // out [n] = candidate k of this iteration, 0 <= k < population: mean + sigma * y, y ~ N(0, C)
  // from element k * n on of tensor 0, rounded to binary32 once.
  void Candidate(int k, std::span<float> out) const;
  // Ends the iteration: losses [population] of its candidates, none of them NaN. Equal losses rank
  // by their position.
  void Tell(std::span<const double> losses);

  std::span<const double> mean() const { return mean_; }
  double sigma() const { return sigma_; }
  uint64_t iteration() const { return iteration_; }

 private:
  void Draw();
  // Means of the best candidates, weighted: of z and of y.
  void Recombine(std::span<const int> order);
  void MoveCovariance(std::span<const int> order, bool stalled);
  void Factorise();

  const int64_t n_;
  const Settings settings_;
  const CmaEsConstants constants_;
  const uint64_t renewal_;  // iterations that share a factor
  std::vector<double> mean_;
  double sigma_;
  uint64_t iteration_ = 0;
  std::vector<double> path_sigma_, path_c_;  // [n]
  std::vector<double> covariance_, factor_;  // upper triangles of [n, n]; C = factor^T factor
  std::vector<double> z_, y_;                // [population, n]: normal numbers, factor^T z
  std::vector<double> z_mean_, y_mean_;      // [n]
};

}  // namespace rivulet
