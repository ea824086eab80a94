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

// w + scale z of a direction; w itself at scale 0.
struct EvaluationPoint {
  uint64_t index = 0;
  float scale = 0;
};

// Of n numbers about their mean, over n; 0 for fewer than two.
double PopulationDeviation(std::span<const double> values);

// The losses at some points, one each.
using Objective =
    std::function<absl::StatusOr<std::vector<double>>(std::span<const EvaluationPoint>)>;

// Points of which losses are measured together when so many of a step's `queries` are, both signs
// of each, or one sign and where the step begins; 1 for batched = 0.
size_t PointsOfPass(Difference difference, int batched, int queries);

// Directions step * queries, ... + queries - 1: those of a step where every query of a run has one
// of its own.
std::vector<uint64_t> IndicesOf(uint64_t step, int queries);

// Measures the slopes of `losses` along the directions `indices`, one query each.
//   epsilon   > 0, in units of the values.
//   together  points that one call of `losses` gets, at least 1; the last call of a step may get
//             fewer. They come direction after direction, w + eps z before w - eps z; one-sided, w
//             first of all.
// Every loss of a step should see the same batch and the same dropout masks.
// Errors: those of `losses`; Internal for a loss that is not finite.
// Source: Spall 1992 (central), Malladi et al. 2023 (MeZO), Dang et al. 2025 (FZOO: one-sided).
absl::StatusOr<SlopeEstimates> MeasureSlopes(Difference difference, double epsilon,
                                             std::span<const uint64_t> indices, size_t together,
                                             const Objective& losses);

// The same slopes, exact, from a gradient that is known: <gradient, z_q> for each query.
std::vector<double> ProjectGradient(const Directions& directions, std::span<const uint64_t> indices,
                                    std::span<const float> gradient);

// values += movements[q] z_q for each query: each factor is rounded once. The second: values that
// lie apart, as Directions::Move has them.
void MoveAlong(const Directions& directions, std::span<const uint64_t> indices,
               std::span<const double> movements, std::span<float> values);
void MoveAlong(const Directions& directions, std::span<const uint64_t> indices,
               std::span<const double> movements, std::span<const std::span<float>> tensors);

// Movements of a step of gradient descent along the estimate: -rate / P * slopes[q], P =
// slopes.size().
std::vector<double> DescentOf(std::span<const double> slopes, double rate);

}  // namespace rivulet
