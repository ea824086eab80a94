#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "aggregation/codec/rounding.h"
#include "common/status.h"

namespace rivulet {

// A lattice for secure sums: integers of `p` bits for coordinates of magnitude up to `v`.
struct LatticeParams {
  int p = 8;     // bits, 2 .. 30
  double v = 1;  // bound of a coordinate, > 0

  int32_t limit() const { return (int32_t{1} << (p - 1)) - 1; }  // L
  double scale() const { return limit() / v; }                   // integers per unit
  absl::Status Validate() const;  // InvalidArgument naming the first bad field
};

// The bound of secure_aggregation 8.1 step 6 for updates of L2 norm up to `clip`: clip itself
// without rotation, `deviations` clip / sqrt(size) for rotated vectors of `rotated_size` numbers
// (m R), which are nearly normal.
double LatticeBound(double clip, size_t rotated_size /* 0: not rotated */, double deviations = 8);

// Deviations that a lattice of `bits` should reach on normal numbers: 8 as in the document from 8
// bits on, where nothing is ever clamped. With fewer bits its steps would drown the numbers, and
// what counts is the squared error: of stochastic rounding, which the mean over 8 clients divides,
// and of clamping, which it does not (numerically minimised; 2 bits: 0.29 of the norm instead of
// 0.82, 3: 0.13 instead of 0.38, 4: 0.064 instead of 0.165).
double LatticeDeviations(int bits);
// Share of normal numbers beyond so many deviations.
double ShareBeyond(double deviations);

// Steps 6 and 7: t = value * scale in binary64, out = floor(t) + [r < floor((t - floor(t)) 2^32)]
// with one word r of `rounding` for each value, in order. Nothing is clamped but to +-(2^31 - 1).
// Values finite, scale > 0; sizes equal.
void RoundStochastically(std::span<const float> values, double scale, RoundingSource& rounding,
                         std::span<int32_t> out);

// The same and step 8 without DP: clamps to +-limit. Returns how many were clamped; more than one
// in 10^5 deserves a warning.
size_t QuantiseToLattice(std::span<const float> values, const LatticeParams& params,
                         RoundingSource& rounding, std::span<int32_t> out);

// mean[i] = sum[i] / (scale * weights): the mean of the vectors whose integers were summed with
// integer weights, `weights` the sum of these, >= 1.
void DequantiseSum(std::span<const int64_t> sum, double scale, int64_t weights,
                   std::span<float> mean);
void DequantiseSum(std::span<const int32_t> sum, double scale, int64_t weights,
                   std::span<float> mean);

}  // namespace rivulet
