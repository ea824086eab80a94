#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

// What direction_cuda.cc launches. C++17, device pointers unless said; each call enqueues on
// `stream` and returns what CUDA says of the launch.

namespace rivulet::direction_cuda {

// What a RandomStream is made of, and the factor of its direction in a replay.
struct StreamKey {
  uint32_t key[2];
  uint32_t lane;
  float coefficient;
};

enum class Draws { kSigns, kNormals, kProducts };

// One direction.
struct Recipe {
  Draws draws;
  int rank;          // kProducts
  float factor;      // kProducts: 1 / sqrt(rank)
  StreamKey stream;  // kProducts: of the left factors
  StreamKey right;   // kProducts
};

// Elements first .. first + count - 1 of a tensor, which lie from `offset` on in every buffer.
struct Section {
  uint32_t tensor;
  int64_t rows, columns, first, count, offset;
};
struct Sections {  // host memory
  const Section* data;
  int count;
};

cudaError_t LaunchWords(const StreamKey& key, uint32_t tensor, uint64_t first_block, int64_t blocks,
                        uint32_t* out, cudaStream_t stream);

// out = z.
cudaError_t LaunchFill(const Recipe& recipe, Sections sections, float* out, cudaStream_t stream);

// out = fma(scale, z, base); base may be out. Cells are float, or uint16_t for bfloat16.
template <typename Cell>
cudaError_t LaunchAdd(const Recipe& recipe, Sections sections, float scale, const Cell* base,
                      Cell* out, cudaStream_t stream);

// w = fma(move, z, w) and out = fma(scale, z of `next`, w); out may be w. Both are of one kind.
template <typename Cell>
cudaError_t LaunchMoveAndAdd(const Recipe& recipe, float move, const Recipe& next, float scale,
                             Sections sections, Cell* w, Cell* out, cudaStream_t stream);

// w += sum over k < count of coefficient_k z_k: summed from 0 in ascending order with one fused
// multiply-add each, and added to w once. `keys` and, for kProducts, `rights` are host memory
// [count]; `like` says kind and rank.
cudaError_t LaunchReplay(const Recipe& like, const StreamKey* keys, const StreamKey* rights,
                         int count, Sections sections, float* w, cudaStream_t stream);

}  // namespace rivulet::direction_cuda
