#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "common/direction/direction.h"
#include "common/status.h"

// The sum of many rank-1 directions in whole numbers: exact, so that neither the order nor the
// machine matters. For a matrix of m x n it is U diag(c) V^T with signs U [m, K] and V [n, K], a
// product of matrices where an element-wise replay draws K m n numbers.

namespace rivulet {

// Real coefficients as values[k] 2^exponent.
struct FixedPoint {
  std::vector<int32_t> values;  // |value| <= kLargestFixed
  int exponent = 0;
};
// Three signed bytes, each of which may change its sign: 127 (1 + 2^8 + 2^16).
inline constexpr int32_t kLargestFixed = 127 * 0x10101;
// So that sums of products of bytes fit into 32 bits.
inline constexpr int64_t kMostRankOne = int64_t{1} << 23;

// The nearest, with the smallest exponent that fits: an error of at most max |c| 2^-23 each.
// Errors: InvalidArgument for one that is not finite.
absl::StatusOr<FixedPoint> ToFixedPoint(std::span<const double> coefficients);

// sum[i n + j] = sum over k of values[k] a_k[i] b_k[j], a_k and b_k those of the direction `index`
// + k of kind kLowRank and rank 1 (docs/formats/randomness.md).
//   matrix  the whole tensor, m x n.
//   sum     [m n]
// Errors: InvalidArgument for more than kMostRankOne values, one beyond kLargestFixed, or a size of
// `sum` that is not the matrix's.
absl::Status SumRankOne(uint64_t root, uint64_t index, std::span<const int32_t> values,
                        const TensorPart& matrix, std::span<int64_t> sum);

// w += 2^exponent sum, the sum rounded to binary32 once and its addition once. w [m n]. Errors
// also: Aborted when `cancelled`, which is polled every few milliseconds and may be empty; some are
// then added.
absl::Status AddRankOneReplay(uint64_t root, uint64_t index, const FixedPoint& coefficients,
                              const TensorPart& matrix, std::span<float> w,
                              const std::function<bool()>& cancelled = {});

// What both and their CUDA twin refuse.
absl::Status CheckRankOne(std::span<const int32_t> values, const TensorPart& matrix);

}  // namespace rivulet
