#include "common/direction/cuda/table.cuh"

namespace rivulet::direction_cuda {
namespace {

// Block `at` of the stream of every direction, blockIdx.y; `keys` may be null for `one` alone.
__global__ void FactorKernel(const StreamKey* keys, StreamKey one, uint32_t tensor, int64_t blocks,
                             int64_t stride, uint32_t* out) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= blocks) return;
  const StreamKey key = keys == nullptr ? one : keys[blockIdx.y];
  const PhiloxBlock block = BlockOf(key, at, tensor);
  uint32_t* const to = out + blockIdx.y * stride + 4 * at;
  for (int word = 0; word < 4; ++word) to[word] = block.word[word];
}

}  // namespace

cudaError_t FactorWords::Draw(const Recipe& recipe, Sections sections, const StreamKey* lefts,
                              const StreamKey* rights, int directions) {
  if (directions > 65535) return cudaErrorInvalidValue;  // of a grid
  stride_ = 0;
  for (int at = 0; at < sections.count; ++at) {
    stride_ += WordsOf(sections.data[at].rows * recipe.rank) +
               WordsOf(sections.data[at].columns * recipe.rank);
  }
  const size_t bytes = static_cast<size_t>(stride_) * directions * sizeof(uint32_t);
  cudaError_t error = cudaMallocAsync(reinterpret_cast<void**>(&words_), bytes, stream_);
  if (error != cudaSuccess) return error;
  int64_t word = 0;
  for (int at = 0; at < sections.count; ++at) {
    const Section& section = sections.data[at];
    for (const bool left : {true, false}) {
      const int64_t words = WordsOf((left ? section.rows : section.columns) * recipe.rank);
      const int64_t blocks = words / 4;  // the last is there to be read beyond the end
      const dim3 grid(static_cast<unsigned>((blocks + kThreads - 1) / kThreads),
                      static_cast<unsigned>(directions));
      FactorKernel<<<grid, kThreads, 0, stream_>>>(left ? lefts : rights,
                                                   left ? recipe.stream : recipe.right,
                                                   section.tensor, blocks, stride_, words_ + word);
      error = cudaGetLastError();
      if (error != cudaSuccess) return error;
      word += words;
    }
  }
  return cudaSuccess;
}

}  // namespace rivulet::direction_cuda
