#pragma once

#include <functional>
#include <span>
#include <vector>

#include "common/direction/directions.h"
#include "common/status.h"

// Gradients from losses alone. Knows no libtorch: a loss is a function, values are spans.

namespace rivulet {

enum class Difference {
  kCentral,   // (L(w + eps z) - L(w - eps z)) / 2 eps: two losses a query, error O(eps^2)
  kOneSided,  // (L(w + eps z) - L(w)) / eps: one loss a query and one for all, error O(eps)
};

// What one step measured.
struct SlopeEstimates {
  std::vector<double> slopes;  // by query: the loss's derivative along z
  double loss = 0;             // one-sided: at w; central: mean of all that were computed
  double spread = 0;  // sample deviation of the queries' losses at w + eps z; 0 for a single query
};

// The loss at whatever the evaluation point holds.
using Objective = std::function<absl::StatusOr<double>()>;

// Directions step * queries, ... + queries - 1: those of a step where every query of a run has one
// of its own.
std::vector<uint64_t> IndicesOf(uint64_t step, int queries);

// Measures the slopes of `loss` along the directions `indices`, one query each.
//   epsilon  > 0, in units of the values.
//   values   [directions.size()] w: never written, so that nothing is to be restored.
//   point    [directions.size()] what `loss` reads: holds w + eps z or w - eps z, one direction
//            after the other, and something undefined afterwards.
// Every loss of a step should see the same batch and the same dropout masks.
// Errors: those of `loss`; Internal for a loss that is not finite.
// Source: Spall 1992 (central), Malladi et al. 2023 (MeZO), Dang et al. 2025 (FZOO: one-sided).
absl::StatusOr<SlopeEstimates> MeasureSlopes(const Directions& directions, Difference difference,
                                             double epsilon, std::span<const uint64_t> indices,
                                             std::span<const float> values, std::span<float> point,
                                             const Objective& loss);

// The same slopes, exact, from a gradient that is known: <gradient, z_q> for each query.
std::vector<double> ProjectGradient(const Directions& directions, std::span<const uint64_t> indices,
                                    std::span<const float> gradient);

// values += movements[q] z_q for each query: each factor is rounded once.
void MoveAlong(const Directions& directions, std::span<const uint64_t> indices,
               std::span<const double> movements, std::span<float> values);

// Movements of a step of gradient descent along the estimate: -rate / P * slopes[q], P =
// slopes.size().
std::vector<double> DescentOf(std::span<const double> slopes, double rate);

}  // namespace rivulet
