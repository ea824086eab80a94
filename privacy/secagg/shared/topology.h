#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/status.h"
#include "privacy/secagg/shared/graph.h"

namespace rivulet::secagg {

// Members of a ring that may keep their nonce to themselves: every one is a choice of the server.
constexpr uint32_t MaxMissingNonces(size_t n) { return n > 2048 ? 1 : 2; }

// Who shares with whom in a session whose roster, and on a ring whose nonces, are known.
class Topology {
 public:
  Topology() = default;
  explicit Topology(uint32_t n) : n_(n) {}                      // complete
  Topology(const Secret32& graph_key, uint32_t n, uint32_t k);  // ring

  uint32_t n() const { return n_; }
  // N(u), ascending.
  std::vector<uint32_t> NeighboursOf(uint32_t u) const;
  // S_u: N(u) and u itself, ascending. Holder number x - 1 of it has the share at x.
  std::vector<uint32_t> SharingSetOf(uint32_t u) const;
  // The x at which `holder` holds shares of `owner`'s secrets; nullopt if it holds none.
  std::optional<uint16_t> HolderX(uint32_t owner, uint32_t holder) const;

 private:
  uint32_t n_ = 0;
  uint32_t k_ = 0;
  std::vector<uint32_t> at_;        // client at a position of the ring; empty: complete
  std::vector<uint32_t> position_;  // of a client
};

}  // namespace rivulet::secagg
