#pragma once

#include "common/direction/cuda/sources.cuh"

// Host side of a launch: sections to tables, and the bits of low-rank directions.

namespace rivulet::direction_cuda {

// Words that hold the signs of a tensor's left or right factors, with one to read beyond.
inline int64_t WordsOf(int64_t signs) { return (signs + kBlockSigns - 1) / kBlockSigns * 4 + 4; }

// Calls `launch` (table) for tables of at most kMaxParts parts in tiles of `tile` elements, until
// one fails.
template <typename Launch>
cudaError_t ForTables(Sections sections, int rank, int64_t tile, Launch launch) {
  Table table = {};
  int64_t word = 0;
  for (int at = 0; at < sections.count; ++at) {
    const Section& section = sections.data[at];
    Part& part = table.part[table.parts];
    part.rows = section.rows, part.columns = section.columns;
    part.first = section.first, part.end = section.first + section.count;
    part.shift = section.offset - section.first;
    part.first_tile = table.tiles;
    part.left_word = word;
    part.right_word = word + WordsOf(section.rows * rank);
    part.tensor = section.tensor;
    word = part.right_word + WordsOf(section.columns * rank);
    if (section.count > 0) {
      table.tiles += (section.first % tile + section.count + tile - 1) / tile;
      ++table.parts;
    }
    if (table.parts > 0 && (table.parts == kMaxParts || at + 1 == sections.count)) {
      const cudaError_t error = launch(table);
      if (error != cudaSuccess) return error;
      table = {};
    }
  }
  return cudaSuccess;
}

// The factors' bits of all sections of one or many low-rank directions in device memory, from the
// stream's pool, laid out as ForTables says. Given back, in the stream's order, at the end of
// scope.
class FactorWords {
 public:
  explicit FactorWords(cudaStream_t stream) : stream_(stream) {}
  ~FactorWords() {
    if (words_ != nullptr) cudaFreeAsync(words_, stream_);
  }
  FactorWords(const FactorWords&) = delete;
  FactorWords& operator=(const FactorWords&) = delete;

  // `lefts`, `rights`: device memory [directions], or null for the one direction of `recipe`.
  cudaError_t Draw(const Recipe& recipe, Sections sections, const StreamKey* lefts,
                   const StreamKey* rights, int directions);
  const uint32_t* words() const { return words_; }
  int64_t stride() const { return stride_; }  // from direction to direction

 private:
  cudaStream_t stream_;
  uint32_t* words_ = nullptr;
  int64_t stride_ = 0;
};

}  // namespace rivulet::direction_cuda
