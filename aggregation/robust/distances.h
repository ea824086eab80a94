#pragma once

#include <vector>

#include "aggregation/robust/batch.h"

namespace rivulet {

// A symmetric table of squared distances, [n, n], the diagonal 0.
struct DistanceTable {
  size_t n = 0;
  std::vector<double> squares;

  double at(size_t first, size_t second) const { return squares[first * n + second]; }
  void Set(size_t first, size_t second, double square) {
    squares[first * n + second] = squares[second * n + first] = square;
  }
};

// |x_i - x_j|^2 in the metric of the batch: |x_i|^2 + |x_j|^2 - 2 <x_i, x_j>, not below 0; computed
// from the differences where that is less than 1e-6 of the norms and cancellation would eat it.
// Errors: as RobustRule::Aggregate for a value that is not finite.
absl::StatusOr<DistanceTable> FlatDistances(const UpdateBatch& batch);

// The sum over LoRA modules of |(B + b_i)(A + a_i) - (B + b_j)(A + a_j)|_F^2, with A and B those of
// `global`, plus the flat squared distances of all other tensors. The difference of the products is
// (b_i - b_j)(A + a_i) + (B + b_j)(a_i - a_j), of rank 2r: no m x n matrix is built and nothing
// large cancels. Time n^2 r^2 (m + n) for a module [m, n].
// Errors: InvalidArgument when there is no `global` of the same manifest (F32), no pair of factors
// or one without its partner; as above.
absl::StatusOr<DistanceTable> ProductDistances(const UpdateBatch& batch);

}  // namespace rivulet
