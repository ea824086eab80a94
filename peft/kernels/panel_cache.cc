#include "peft/kernels/panel_cache.h"

namespace rivulet::kernels {

PanelCache::PanelCache(std::span<const void* const> frozen, size_t most_bytes)
    : frozen_(frozen.begin(), frozen.end()), most_bytes_(most_bytes) {}

const float* PanelCache::Of(const Product& product, int64_t n) {
  const void* begin = product.narrow;
  if (begin == nullptr) begin = product.b.data;
  if (!frozen_.contains(begin)) return nullptr;
  const Key key = {begin, product.b.row_stride, product.b.column_stride, product.k, n};
  const std::lock_guard lock(mutex_);
  const auto known = panels_.find(key);
  if (known != panels_.end()) return known->second.data();
  const size_t floats = PanelFloats(product, n);
  if (floats * sizeof(float) > most_bytes_ - bytes_) return nullptr;
  bytes_ += floats * sizeof(float);
  float* panels = panels_[key].Resize(floats);
  PackPanels(product, n, panels);
  return panels;
}

size_t PanelCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace rivulet::kernels
