#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace rivulet::kernels {

// Scratch memory that grows and is kept: one per thread of computation, reused by every step, so
// that no step touches fresh pages. Contents are undefined after Resize.
class Scratch {
 public:
  // [floats] values, 64-byte aligned, valid until the next call.
  float* Resize(size_t floats) {
    if (floats > capacity_) {
      const size_t bytes = (floats * sizeof(float) + 4095) / 4096 * 4096;
      data_.reset(static_cast<float*>(std::aligned_alloc(4096, bytes)));
      capacity_ = bytes / sizeof(float);
    }
    return data_.get();
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> data_;
  size_t capacity_ = 0;
};

// What the kernels of one thread need beside their operands. Not thread safe: one per thread.
struct Workspace {
  Scratch packed;     // right-hand panels of a product
  Scratch rows;       // left-hand rows of a product, when they are repacked
  Scratch scores;     // attention: probabilities of a block of queries
  Scratch gradients;  // attention: their gradients
  Scratch turned;     // attention: transposed keys and values
};

}  // namespace rivulet::kernels
