#include "privacy/secagg/shared/topology.h"

#include <algorithm>

namespace rivulet::secagg {

Topology::Topology(const Secret32& graph_key, uint32_t n, uint32_t k)
    : n_(n), k_(k), at_(Permutation(graph_key, n)), position_(n) {
  for (uint32_t position = 0; position < n; ++position) position_[at_[position]] = position;
}

std::vector<uint32_t> Topology::NeighboursOf(uint32_t u) const {
  if (at_.empty()) return AllOthers(n_, u);
  std::vector<uint32_t> out;
  out.reserve(k_ + 1);
  for (uint32_t step = 1; step <= k_ / 2; ++step) {
    out.push_back(at_[(position_[u] + step) % n_]);
    out.push_back(at_[(position_[u] + n_ - step) % n_]);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<uint32_t> Topology::SharingSetOf(uint32_t u) const {
  std::vector<uint32_t> out = NeighboursOf(u);
  out.insert(std::lower_bound(out.begin(), out.end(), u), u);
  return out;
}

std::optional<uint16_t> Topology::HolderX(uint32_t owner, uint32_t holder) const {
  if (owner >= n_ || holder >= n_) return std::nullopt;
  if (at_.empty()) return static_cast<uint16_t>(holder + 1);
  bool holds = owner == holder;
  uint16_t rank = owner < holder;
  for (uint32_t step = 1; step <= k_ / 2; ++step) {
    const uint32_t above = at_[(position_[owner] + step) % n_];
    const uint32_t below = at_[(position_[owner] + n_ - step) % n_];
    holds |= above == holder || below == holder;
    rank += (above < holder) + (below < holder);
  }
  return holds ? std::optional<uint16_t>(rank + 1) : std::nullopt;
}

}  // namespace rivulet::secagg
