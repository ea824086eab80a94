#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <tuple>

#include "peft/kernels/gemm.h"
#include "peft/kernels/workspace.h"

namespace rivulet::kernels {

// Matrices that never change, those of a frozen base, in the panels in which Gemm reads its right
// operand: copied at the first product instead of at every one. One for all workspaces; thread
// safe.
class PanelCache {
 public:
  // The matrices that begin at `frozen` neither change nor go while this lives. Copies take at most
  // `most_bytes`; what finds no room is packed by each product, as without a cache.
  PanelCache(std::span<const void* const> frozen, size_t most_bytes);

  // The panels of b [k, n]; null when b is not frozen or finds no room.
  const float* Of(const Product& product, int64_t n);

  size_t bytes() const;  // of the copies so far

 private:
  // Where it begins, strides of rows and columns, k, n.
  using Key = std::tuple<const void*, int64_t, int64_t, int64_t, int64_t>;

  const std::set<const void*> frozen_;
  const size_t most_bytes_;
  mutable std::mutex mutex_;
  size_t bytes_ = 0;
  std::map<Key, Scratch> panels_;
};

}  // namespace rivulet::kernels
