// One pass over the numbers: z comes and goes in registers.
#include <cuda_bf16.h>

#include "common/direction/cuda/table.cuh"

namespace rivulet::direction_cuda {
namespace {

enum class Pass { kFill, kAdd, kMoveAndAdd };

// What every element of a group goes through.
template <Pass pass, typename Source, typename Cell>
struct Work {
  Source source, next;
  float scale, next_scale;
  const Cell* base;
  Cell* moved;  // kMoveAndAdd alone
  Cell* out;
};

template <typename Cell>
union Sixteen {
  static constexpr int kCells = 16 / sizeof(Cell);
  uint4 bytes;
  Cell cell[kCells];
  uint32_t word[4];
};

// All cells = fma(scale, z, cell).
__device__ void MoveAll(float scale, const float* z, Sixteen<float>& group) {
  for (int v = 0; v < 4; ++v) group.cell[v] = __fmaf_rn(scale, z[v], group.cell[v]);
}

// bfloat16, as common/direction/kernels.cc: widened, to nearest even. One instruction rounds two.
__device__ void MoveAll(float scale, const float* z, Sixteen<uint16_t>& group) {
  for (int pair = 0; pair < 4; ++pair) {
    const float low = __uint_as_float(group.word[pair] << 16);
    const float high = __uint_as_float(group.word[pair] & 0xFFFF0000u);
    const __nv_bfloat162_raw moved = __floats2bfloat162_rn(__fmaf_rn(scale, z[2 * pair], low),
                                                           __fmaf_rn(scale, z[2 * pair + 1], high));
    group.word[pair] = moved.x | uint32_t{moved.y} << 16;
  }
}

// A warp takes a tile. Where a lane's 16 bytes lie inside the section and the buffers are aligned
// to them, they are read and written as one.
template <Pass pass, typename Source, typename Cell>
__global__ void __launch_bounds__(kThreads)
    PassKernel(const __grid_constant__ Table table,
               const __grid_constant__ Work<pass, Source, Cell> work) {
  using Group = Sixteen<Cell>;
  constexpr int kCells = Group::kCells, kGroups = kPassTile / (32 * kCells);
  constexpr bool kMoves = pass == Pass::kMoveAndAdd;
  __shared__ uint32_t shared[kWarps][2][kSharedWords];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t tile = int64_t{blockIdx.x} * kWarps + warp;
  if (tile >= table.tiles) return;
  const Part& part = PartOf(table, tile);
  const int64_t start = TileStart(part, tile, kPassTile);

  const bool aligned = ((reinterpret_cast<uintptr_t>(work.base + part.shift) |
                         reinterpret_cast<uintptr_t>(work.out + part.shift) |
                         (kMoves ? reinterpret_cast<uintptr_t>(work.moved + part.shift) : 0)) &
                        15) == 0;
  const bool whole = aligned && start >= part.first && start + kPassTile <= part.end;
  Group groups[kGroups];
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    const int64_t at = start + (g * 32 + lane) * kCells;
    if (pass == Pass::kFill) {
      groups[g].bytes = {};
    } else if (whole) {
      groups[g].bytes = __ldcs(reinterpret_cast<const uint4*>(work.base + part.shift + at));
    } else {
      for (int v = 0; v < kCells; ++v) {
        const bool inside = at + v >= part.first && at + v < part.end;
        groups[g].cell[v] = inside ? work.base[part.shift + at + v] : Cell{};
      }
    }
  }
  work.source.Begin(part, start, shared[warp][0]);
  if (kMoves) work.next.Begin(part, start, shared[warp][1]);
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    const int64_t at = start + (g * 32 + lane) * kCells;
    const auto store = [&](Cell* buffer) {
      if (whole) {
        *reinterpret_cast<uint4*>(buffer + part.shift + at) = groups[g].bytes;
        return;
      }
      for (int v = 0; v < kCells; ++v) {
        if (at + v >= part.first && at + v < part.end) {
          buffer[part.shift + at + v] = groups[g].cell[v];
        }
      }
    };
    float z[kCells];
    work.source.template Values<kCells>(part, at, shared[warp][0], z);
    if constexpr (pass == Pass::kFill) {
      for (int v = 0; v < kCells; ++v) groups[g].cell[v] = z[v];
    } else {
      MoveAll(work.scale, z, groups[g]);
    }
    if constexpr (kMoves) {
      if (work.moved != work.out) store(work.moved);
      work.next.template Values<kCells>(part, at, shared[warp][1], z);
      MoveAll(work.next_scale, z, groups[g]);
    }
    store(work.out);
  }
}

template <Pass pass, typename Source, typename Cell>
cudaError_t LaunchPass(const Work<pass, Source, Cell>& work, Sections sections, int rank,
                       cudaStream_t stream) {
  return ForTables(sections, rank, kPassTile, [&](const Table& table) {
    const int64_t blocks = (table.tiles + kWarps - 1) / kWarps;
    if (blocks > INT32_MAX) return cudaErrorInvalidValue;
    PassKernel<pass, Source, Cell>
        <<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(table, work);
    return cudaGetLastError();
  });
}

// Chooses the source; `next` may be `recipe` where it is not looked at.
template <Pass pass, typename Cell>
cudaError_t Launch(const Recipe& recipe, const Recipe& next, float scale, float next_scale,
                   Sections sections, const Cell* base, Cell* moved, Cell* out,
                   cudaStream_t stream) {
  if (recipe.draws == Draws::kSigns) {
    return LaunchPass(
        Work<pass, SignSource, Cell>{
            {recipe.stream}, {next.stream}, scale, next_scale, base, moved, out},
        sections, 0, stream);
  }
  if (recipe.draws == Draws::kNormals) {
    return LaunchPass(
        Work<pass, NormalSource, Cell>{
            {recipe.stream}, {next.stream}, scale, next_scale, base, moved, out},
        sections, 0, stream);
  }
  FactorWords words(stream), next_words(stream);
  cudaError_t error = words.Draw(recipe, sections, nullptr, nullptr, 1);
  if (error == cudaSuccess && pass == Pass::kMoveAndAdd) {
    error = next_words.Draw(next, sections, nullptr, nullptr, 1);
  }
  if (error != cudaSuccess) return error;
  const ProductSource source{words.words(), recipe.rank, recipe.factor};
  const ProductSource after{next_words.words(), recipe.rank, recipe.factor};
  return LaunchPass(
      Work<pass, ProductSource, Cell>{source, after, scale, next_scale, base, moved, out}, sections,
      recipe.rank, stream);
}

__global__ void WordsKernel(StreamKey key, uint32_t tensor, uint64_t first_block, int64_t blocks,
                            uint32_t* out) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= blocks) return;
  const PhiloxBlock block = BlockOf(key, first_block + at, tensor);
  for (int word = 0; word < 4; ++word) out[4 * at + word] = block.word[word];
}

}  // namespace

cudaError_t LaunchWords(const StreamKey& key, uint32_t tensor, uint64_t first_block, int64_t blocks,
                        uint32_t* out, cudaStream_t stream) {
  if (blocks == 0) return cudaSuccess;
  const int64_t grid = (blocks + kThreads - 1) / kThreads;
  if (grid > INT32_MAX) return cudaErrorInvalidValue;
  WordsKernel<<<static_cast<unsigned>(grid), kThreads, 0, stream>>>(key, tensor, first_block,
                                                                    blocks, out);
  return cudaGetLastError();
}

cudaError_t LaunchFill(const Recipe& recipe, Sections sections, float* out, cudaStream_t stream) {
  return Launch<Pass::kFill, float>(recipe, recipe, 0, 0, sections, out, out, out, stream);
}

template <typename Cell>
cudaError_t LaunchAdd(const Recipe& recipe, Sections sections, float scale, const Cell* base,
                      Cell* out, cudaStream_t stream) {
  return Launch<Pass::kAdd, Cell>(recipe, recipe, scale, 0, sections, base, out, out, stream);
}

template <typename Cell>
cudaError_t LaunchMoveAndAdd(const Recipe& recipe, float move, const Recipe& next, float scale,
                             Sections sections, Cell* w, Cell* out, cudaStream_t stream) {
  return Launch<Pass::kMoveAndAdd, Cell>(recipe, next, move, scale, sections, w, w, out, stream);
}

template cudaError_t LaunchAdd(const Recipe&, Sections, float, const float*, float*, cudaStream_t);
template cudaError_t LaunchAdd(const Recipe&, Sections, float, const uint16_t*, uint16_t*,
                               cudaStream_t);
template cudaError_t LaunchMoveAndAdd(const Recipe&, float, const Recipe&, float, Sections, float*,
                                      float*, cudaStream_t);
template cudaError_t LaunchMoveAndAdd(const Recipe&, float, const Recipe&, float, Sections,
                                      uint16_t*, uint16_t*, cudaStream_t);

}  // namespace rivulet::direction_cuda
