#pragma once

#include "common/direction/cuda/kernels.h"

// The kernels around the products of rank_one_replay_cuda.cc, as kernels.h has it. Device pointers.

namespace rivulet::direction_cuda {

inline constexpr int kLimbs = 3;

// A term: its coefficient is a whole number.
struct Term {
  StreamKey left, right;
  int32_t value;
  int32_t unused;
};

// bytes[limb][row][k]: limb 0 .. 2 (lowest first) of value_k times the sign first_row + row of the
// left factor, as signed digits of base 256. `terms` [K], K a multiple of 4; values are 0 where
// there is no term.
cudaError_t LaunchLeftBytes(const Term* terms, int terms_count, uint32_t tensor, int64_t first_row,
                            int64_t rows, int8_t* bytes, cudaStream_t stream);
// bytes[column][k]: the sign of the right factor.
cudaError_t LaunchRightBytes(const Term* terms, int terms_count, uint32_t tensor, int64_t columns,
                             int8_t* bytes, cudaStream_t stream);

// w[row][column] += 2^exponent float(sum over l of 256^l sums[l limb + row pitch + column]), w
// [rows, columns].
struct LimbSums {
  const int32_t* sums;
  int64_t rows, columns, pitch, limb;
};
cudaError_t LaunchAddLimbs(const LimbSums& from, int exponent, float* w, cudaStream_t stream);

}  // namespace rivulet::direction_cuda
