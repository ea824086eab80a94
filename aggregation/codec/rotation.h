#pragma once

#include <cstddef>
#include <vector>

#include "aggregation/codec/linear.h"

namespace rivulet {

// The block rotation of NewRotation, some blocks at a time, so that neighbours share the cache
// lines of the flat vector and what was rotated is used while it is in cache.
class RotatedBlocks {
 public:
  static constexpr size_t kTogether = 16;  // blocks: a cache line of every row of the flat vector

  // block_size a power of two; `signs` must outlive this.
  RotatedBlocks(size_t d, size_t block_size, const PublicWords& signs)
      : d_(d), size_(block_size), count_((d + block_size - 1) / block_size), signs_(signs) {}

  size_t count() const { return count_; }
  size_t block_size() const { return size_; }

  // flat [d] -> rotated blocks first .. first + count - 1 in `out` [count * block_size].
  void Project(std::span<const float> flat, size_t first, size_t count, float* out) const;
  // Back into the coordinates of flat [d] that these blocks hold; `blocks` is used up.
  void Expand(float* blocks, size_t first, size_t count, std::span<float> flat) const;

 private:
  void Flip(float* block, size_t position) const;

  size_t d_, size_, count_;
  const PublicWords& signs_;
};

// The block size that codecs use for `d` numbers: 2^block_log2, or less when d fits less.
size_t RotationBlockFor(size_t d, uint32_t block_log2);

}  // namespace rivulet
