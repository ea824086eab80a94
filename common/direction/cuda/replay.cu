// Many directions over the same numbers: accumulators in registers, the loop over directions
// inside.
#include "common/direction/cuda/table.cuh"

namespace rivulet::direction_cuda {
namespace {

// Signs: a lane holds the 32 elements of one word. Four directions at a time, of which lane l draws
// block l % 8 of the tile for direction l / 8.
__global__ void __launch_bounds__(kThreads)
    SignReplayKernel(const __grid_constant__ Table table, const StreamKey* keys, int count,
                     float* w) {
  constexpr int kTile = 1024;
  __shared__ uint32_t shared[kWarps][4][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t tile = int64_t{blockIdx.x} * kWarps + warp;
  if (tile >= table.tiles) return;
  const Part& part = PartOf(table, tile);
  const int64_t start = TileStart(part, tile, kTile);

  float sums[32] = {};
  for (int from = 0; from < count; from += 4) {
    const int own = from + lane / 8;
    const PhiloxBlock block =
        BlockOf(keys[own < count ? own : count - 1], start / kBlockSigns + lane % 8, part.tensor);
    for (int word = 0; word < 4; ++word) {
      shared[warp][lane / 8][lane % 8 * 4 + word] = block.word[word];
    }
    __syncwarp();
    for (int q = 0; q < 4 && from + q < count; ++q) {
      const uint32_t bits = shared[warp][q][lane];
      const uint32_t coefficient = __float_as_uint(keys[from + q].coefficient);
#pragma unroll
      for (int e = 0; e < 32; ++e) {  // c times a sign is exact: the sum is the fused one
        const uint32_t term = coefficient ^ (bits << (31 - e) & 0x80000000u);
        sums[e] = __fadd_rn(sums[e], __uint_as_float(term));
      }
    }
    __syncwarp();
  }
#pragma unroll
  for (int e = 0; e < 32; ++e) {
    const int64_t at = start + 32 * lane + e;
    if (at >= part.first && at < part.end) {
      float& value = w[part.shift + at];
      value = __fadd_rn(value, sums[e]);
    }
  }
}

struct Normals {
  const StreamKey* keys;
  __device__ NormalSource Direction(int k) const { return {keys[k]}; }
};
struct Products {
  const StreamKey* keys;
  const uint32_t* words;
  int64_t stride;
  int rank;
  float factor;
  __device__ ProductSource Direction(int k) const { return {words + k * stride, rank, factor}; }
};

constexpr int kReplayTile = 256;

template <typename Directions>
__global__ void __launch_bounds__(kThreads)
    ReplayKernel(const __grid_constant__ Table table, Directions directions, int count, float* w) {
  constexpr int kGroups = kReplayTile / 128;
  const int64_t tile = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (tile >= table.tiles) return;
  const Part& part = PartOf(table, tile);
  const int64_t start = TileStart(part, tile, kReplayTile) + threadIdx.x % 32 * 4;

  float sums[kGroups][4] = {};
  for (int k = 0; k < count; ++k) {
    const auto source = directions.Direction(k);
    const float coefficient = directions.keys[k].coefficient;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      float z[4];
      source.template Values<4>(part, start + g * 128, nullptr, z);
      for (int v = 0; v < 4; ++v) sums[g][v] = __fmaf_rn(coefficient, z[v], sums[g][v]);
    }
  }
  for (int g = 0; g < kGroups; ++g) {
    for (int v = 0; v < 4; ++v) {
      const int64_t at = start + g * 128 + v;
      if (at >= part.first && at < part.end) {
        float& value = w[part.shift + at];
        value = __fadd_rn(value, sums[g][v]);
      }
    }
  }
}

// A copy of `keys` on the device, from the stream's pool.
class DeviceKeys {
 public:
  explicit DeviceKeys(cudaStream_t stream) : stream_(stream) {}
  ~DeviceKeys() {
    if (keys_ != nullptr) cudaFreeAsync(keys_, stream_);
  }
  cudaError_t Copy(const StreamKey* keys, int count) {
    const size_t bytes = count * sizeof(StreamKey);
    const cudaError_t error = cudaMallocAsync(reinterpret_cast<void**>(&keys_), bytes, stream_);
    if (error != cudaSuccess) return error;
    return cudaMemcpyAsync(keys_, keys, bytes, cudaMemcpyHostToDevice, stream_);
  }
  const StreamKey* get() const { return keys_; }

 private:
  cudaStream_t stream_;
  StreamKey* keys_ = nullptr;
};

template <typename Launch>
cudaError_t ForGrids(Sections sections, int rank, int64_t tile, Launch launch) {
  return ForTables(sections, rank, tile, [&](const Table& table) {
    const int64_t blocks = (table.tiles + kWarps - 1) / kWarps;
    if (blocks > INT32_MAX) return cudaErrorInvalidValue;
    launch(table, static_cast<unsigned>(blocks));
    return cudaGetLastError();
  });
}

}  // namespace

cudaError_t LaunchReplay(const Recipe& like, const StreamKey* keys, const StreamKey* rights,
                         int count, Sections sections, float* w, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  DeviceKeys device_keys(stream), device_rights(stream);
  cudaError_t error = device_keys.Copy(keys, count);
  if (error != cudaSuccess) return error;
  if (like.draws == Draws::kSigns) {
    return ForGrids(sections, 0, kPassTile, [&](const Table& table, unsigned blocks) {
      SignReplayKernel<<<blocks, kThreads, 0, stream>>>(table, device_keys.get(), count, w);
    });
  }
  if (like.draws == Draws::kNormals) {
    return ForGrids(sections, 0, kReplayTile, [&](const Table& table, unsigned blocks) {
      ReplayKernel<<<blocks, kThreads, 0, stream>>>(table, Normals{device_keys.get()}, count, w);
    });
  }
  FactorWords words(stream);
  error = device_rights.Copy(rights, count);
  if (error == cudaSuccess) {
    error = words.Draw(like, sections, device_keys.get(), device_rights.get(), count);
  }
  if (error != cudaSuccess) return error;
  return ForGrids(sections, like.rank, kReplayTile, [&](const Table& table, unsigned blocks) {
    const Products products{device_keys.get(), words.words(), words.stride(), like.rank,
                            like.factor};
    ReplayKernel<<<blocks, kThreads, 0, stream>>>(table, products, count, w);
  });
}

}  // namespace rivulet::direction_cuda
