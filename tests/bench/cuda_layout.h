#pragma once

#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "common/direction/cuda/direction_cuda.h"

// Sizes of a llama of 1.1 B weights (22 layers of TinyLlama's) and how they lie in one buffer.

namespace rivulet::bench {

inline void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(1);
}
inline void Must(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

inline constexpr int64_t kHidden = 2048, kInner = 5632, kHeads = 32, kKvHeads = 4, kHead = 64,
                         kVocabulary = 32000, kChunk = 8000, kChunks = kVocabulary / kChunk,
                         kKv = kKvHeads * kHead;

inline uint16_t* Cells(const at::Tensor& tensor) {
  return static_cast<uint16_t*>(tensor.data_ptr());
}
inline void* Stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

// Weights that one product reads: they lie side by side, and are drawn for together.
struct Unit {
  int64_t offset = 0, size = 0;
  std::vector<DevicePart> parts;  // offsets within the unit
};

// Units in the order in which a forward pass reads them: the norms; chunks of the embedding; of
// each layer query-key-value, output, gate-up, down; chunks of the head.
struct Layout {
  explicit Layout(int64_t layer_count) : layers(layer_count) {
    uint32_t tensor = 0;
    Unit norms;
    for (int64_t norm = 0; norm < 2 * layers + 1; ++norm)
      Add(norms, {tensor++, kHidden, 1}, kHidden);
    Close(norms);
    Table(tensor++);
    for (int64_t layer = 0; layer < layers; ++layer) {
      for (const std::vector<std::pair<int64_t, int64_t>>& shapes :
           {std::vector<std::pair<int64_t, int64_t>>{
                {kHidden, kHidden}, {kKv, kHidden}, {kKv, kHidden}},
            {{kHidden, kHidden}},
            {{kInner, kHidden}, {kInner, kHidden}},
            {{kHidden, kInner}}}) {
        Unit unit;
        for (const auto& [rows, columns] : shapes) {
          Add(unit, {tensor++, rows, columns}, rows * columns);
        }
        Close(unit);
      }
    }
    Table(tensor++);
    for (const Unit& unit : units) largest = std::max(largest, unit.size);
    for (const Unit& unit : units) {
      for (DevicePart part : unit.parts) {
        part.offset += unit.offset;
        all.push_back(part);
      }
    }
  }

  int64_t layers, size = 0, largest = 0;
  std::vector<Unit> units;
  std::vector<DevicePart> all;

 private:
  void Add(Unit& unit, const TensorPart& part, int64_t count) {
    unit.parts.push_back({part, count, unit.size});
    unit.size += count;
  }
  void Close(Unit unit) {
    unit.offset = size;
    size += unit.size;
    units.push_back(std::move(unit));
  }
  void Table(uint32_t tensor) {
    for (int64_t chunk = 0; chunk < kChunks; ++chunk) {
      Unit unit;
      Add(unit, {tensor, kVocabulary, kHidden, chunk * kChunk * kHidden}, kChunk * kHidden);
      Close(unit);
    }
  }
};

}  // namespace rivulet::bench
