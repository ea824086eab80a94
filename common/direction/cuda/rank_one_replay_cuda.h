#pragma once

#include <memory>

#include "common/direction/cuda/direction_cuda.h"
#include "common/direction/rank_one_replay.h"

namespace rivulet {

// The CUDA twin of AddRankOneReplay: coefficients times left signs as three signed bytes, each a
// product of matrices of bytes with 32-bit sums (exact: K products of at most 128), put together
// in 64 bits. The same bits as the CPU. Not thread safe; one stream at a time.
class RankOneReplayCuda {
 public:
  // Errors: those of CheckCuda; Internal when cuBLAS cannot be opened.
  static absl::StatusOr<std::unique_ptr<RankOneReplayCuda>> Make();
  ~RankOneReplayCuda();

  // w += 2^exponent sum over k of values[k] a_k b_k^T, the directions first.index + k of rank 1.
  //   matrix  the whole tensor, m x n, n at most 2 million.
  //   w       [m n] device memory
  // Workspace from the stream's pool, with K rounded up to 16: (n + 3 rows) K + 12 rows n bytes, of
  // as many rows at a time as keep the last term under 256 MiB.
  // Errors: InvalidArgument when first's settings are not rank 1; those of CheckRankOne; Internal.
  absl::Status Add(const DirectionAddress& first, const FixedPoint& coefficients,
                   const TensorPart& matrix, float* w, void* stream);

 private:
  struct Device;
  explicit RankOneReplayCuda(std::unique_ptr<Device> device);
  std::unique_ptr<Device> device_;
};

}  // namespace rivulet
