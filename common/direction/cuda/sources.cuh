#pragma once

#include "common/direction/cuda/draws.cuh"

// Where the numbers of a direction come from inside a kernel, and which numbers a warp works on.

namespace rivulet::direction_cuda {

inline constexpr int kThreads = 256;
inline constexpr int kWarps = kThreads / 32;
inline constexpr int64_t kBlockSigns = 128;  // elements of a block of words

// A section, cut into tiles that start at multiples of the tile's size in the tensor.
struct Part {
  int64_t rows, columns, first, end, shift;  // element i lies at buffer[i + shift]
  int64_t first_tile;                        // of this part in the launch
  int64_t left_word, right_word;             // kProducts: where its bits start
  uint32_t tensor;
};

// Travels as a kernel's argument, of which there may be 4 KiB.
inline constexpr int kMaxParts = 40;
struct Table {
  int parts;
  int64_t tiles;
  Part part[kMaxParts];
};

__device__ inline const Part& PartOf(const Table& table, int64_t tile) {
  int low = 0, high = table.parts;  // part[low].first_tile <= tile < part[high].first_tile
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (table.part[middle].first_tile <= tile ? low : high) = middle;
  }
  return table.part[low];
}

inline __host__ __device__ int64_t TileStart(const Part& part, int64_t tile, int64_t size) {
  return (part.first / size + tile - part.first_tile) * size;
}

// A source gives elements at .. at + V - 1 of z, `at` a multiple of V, to every lane of a warp
// after Begin. What is beyond the tensor's end is arbitrary. `shared` holds kSharedWords of the
// warp.
inline constexpr int kPassTile = 1024;
inline constexpr int kSharedWords = kPassTile / 32;

struct SignSource {
  StreamKey stream;

  __device__ void Begin(const Part& part, int64_t start, uint32_t* shared) const {
    const int lane = threadIdx.x % 32;
    if (lane < kPassTile / kBlockSigns) {
      const PhiloxBlock block = BlockOf(stream, start / kBlockSigns + lane, part.tensor);
      for (int word = 0; word < 4; ++word) shared[4 * lane + word] = block.word[word];
    }
    __syncwarp();
  }
  template <int V>
  __device__ void Values(const Part&, int64_t at, const uint32_t* shared, float* z) const {
    const uint32_t bits = shared[at % kPassTile / 32] >> (at % 32);
    for (int v = 0; v < V; ++v) z[v] = SignOf(bits >> v);
  }
};

struct NormalSource {
  StreamKey stream;

  __device__ void Begin(const Part&, int64_t, uint32_t*) const {}
  template <int V>
  __device__ void Values(const Part& part, int64_t at, const uint32_t*, float* z) const {
    for (int v = 0; v < V; v += 4) {
      const PhiloxBlock block = BlockOf(stream, (at + v) / 4, part.tensor);
      const float2 low = NormalPair(block.word[0], block.word[1]);
      const float2 high = NormalPair(block.word[2], block.word[3]);
      z[v] = low.x, z[v + 1] = low.y, z[v + 2] = high.x, z[v + 3] = high.y;
    }
  }
};

// Its bits were drawn into device memory before: (m + n) r of them for m n numbers.
struct ProductSource {
  const uint32_t* words;
  int rank;
  float factor;

  __device__ void Begin(const Part&, int64_t, uint32_t*) const {}
  template <int V>
  __device__ void Values(const Part& part, int64_t at, const uint32_t*, float* z) const {
    const int64_t n = part.columns, last = part.rows * n - 1;
    const int64_t row = Quotient(at < last ? at : last, n), column = at - row * n;
    const uint32_t* const left = words + part.left_word;
    const uint32_t* const right = words + part.right_word;
    int sum[V] = {};
    if (rank == 1 && column + V <= n) {
      const uint32_t bits = Bits(right, column) ^ (Bit(left, row) ? ~0u : 0u);
      for (int v = 0; v < V; ++v) z[v] = SignOf(bits >> v);
      return;
    }
    if (column + V <= n) {
      for (int k = 0; k < rank; ++k) {
        uint32_t bits = Bits(right, k * n + column);
        if (Bit(left, k * part.rows + row)) bits = ~bits;
        for (int v = 0; v < V; ++v) sum[v] += 1 - 2 * static_cast<int>(bits >> v & 1);
      }
    } else {  // the group reaches into the next row
      for (int v = 0; v < V; ++v) {
        const int64_t i = at + v < last ? at + v : last;
        const int64_t r = Quotient(i, n), c = i - r * n;
        for (int k = 0; k < rank; ++k) {
          const bool minus = Bit(left, k * part.rows + r) != Bit(right, k * n + c);
          sum[v] += minus ? -1 : 1;
        }
      }
    }
    for (int v = 0; v < V; ++v) {
      z[v] = __fmul_rn(__int2float_rn(sum[v]), factor);  // 1 for rank 1
    }
  }

 private:
  static __device__ bool Bit(const uint32_t* words, int64_t i) {
    return words[i / 32] >> (i % 32) & 1;
  }
  // From bit i on, of which the lowest is bit i.
  static __device__ uint32_t Bits(const uint32_t* words, int64_t i) {
    return __funnelshift_r(words[i / 32], words[i / 32 + 1], i % 32);
  }
  // A division of 64 bits costs a hundred instructions.
  static __device__ int64_t Quotient(int64_t i, int64_t n) {
    return (i | n) >> 32 ? i / n : static_cast<uint32_t>(i) / static_cast<uint32_t>(n);
  }
};

}  // namespace rivulet::direction_cuda
