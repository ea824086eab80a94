#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "common/direction/direction.h"
#include "common/direction/low_rank.h"

namespace rivulet {

// p = min(rank, length) orthonormal vectors [p, length]: the first signs of the stream, `length` a
// vector, one after the other less its projections on those before it (Gram-Schmidt in this order,
// sums in double, the rest in binary32: the same bits on every machine). A vector that is too close
// to the span of those before it is left out for the next one. The unit vectors where they span
// everything.
std::vector<float> OrthonormalSigns(const RandomStream& stream, uint32_t tensor, int rank,
                                    int64_t length);

// z = sqrt(m n / (p q)) U Z V^T over a matrix of m x n: columns of U [m, p] and V [n, q] are
// OrthonormalSigns of Purpose::kLeftFactor and kRightFactor, at most `rank` of each, Z [p, q]
// standard normal. Directions with the same index / renewal share U and V. Source: Yu et al. 2024
// (SubZero), with a factor that makes E[z z^T] = I over all U and V.
class SubspaceDirection : public Direction {
 public:
  // The settings are of kind kSubspace.
  SubspaceDirection(const DirectionSettings& settings, uint64_t root, uint64_t index);

  // Keeps what a tensor's pieces share until another one is asked for: (m + n) r numbers.
  void Fill(const TensorPart& part, std::span<float> out) const override;

  // z over the whole `matrix`: U Z and V as q pairs of columns.
  LowRankFactors Factors(const TensorPart& matrix) const;

 private:
  struct Made {
    TensorPart matrix;
    LowRankFactors factors;
  };
  std::shared_ptr<const Made> Over(const TensorPart& matrix) const;

  const DirectionSettings settings_;
  const uint64_t root_, index_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Made> made_;
};

// w += U (sum of factors[j] Z_j) V^T over the whole `matrix`, where all `indices` share U and V:
// one product for all of them. The sum is in binary32, j ascending; each w is rounded once.
void AddInSubspace(const DirectionSettings& settings, uint64_t root,
                   std::span<const uint64_t> indices, std::span<const float> factors,
                   const TensorPart& matrix, std::span<float> w);

}  // namespace rivulet
