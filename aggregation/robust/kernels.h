#pragma once

#include <cstddef>
#include <span>

namespace rivulet {

// Arithmetic of the rules on stretches of values. All of it is binary64 in an order that depends on
// the sizes alone; products of two binary32 are exact in it. `widest` as in simd.h.

// sum x[c]^2, and sum (factor x[c] - centre[c])^2.
double SquaredNorm(std::span<const float> x, bool widest = true);
double SquaredDistance(std::span<const float> x, double factor, const double* centre,
                       bool widest = true);
// sum x[c] y[c], and sum (fx x[c] - fy y[c])^2.
double DotOf(std::span<const float> x, const float* y, bool widest = true);
double SquaredDifference(std::span<const float> x, double fx, const float* y, double fy,
                         bool widest = true);

// out[c] += w_0 x_0[c], then w_1 x_1[c], ..: rows in order.
void AddWeightedRows(std::span<const float* const> rows, std::span<const double> weights,
                     size_t count, double* out, bool widest = true);

// gram[i * n + j] += sum x_i[c] x_j[c] for i <= j, n = rows.size(); `scratch` holds n * kGramStride
// doubles, count <= kGramColumns.
inline constexpr size_t kGramColumns = 512;
inline constexpr size_t kGramStride = kGramColumns + 8;  // rows apart from each other in the cache
void AddGram(std::span<const float* const> rows, size_t count, double* scratch, double* gram,
             bool widest = true);

}  // namespace rivulet
