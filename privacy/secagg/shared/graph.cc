#include "privacy/secagg/shared/graph.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>

#include "privacy/crypto/cipher.h"

namespace rivulet::secagg {
namespace {

struct RingRow {
  uint8_t mode;
  uint32_t gamma_ppm, delta_ppm;
  uint32_t n, k, t, c;  // roster size, neighbours, threshold, corrupt neighbours
};

// Rows of one mode and pair of rates are together, by ascending n.
constexpr RingRow kRingRows[] = {
#include "privacy/secagg/shared/graph_table.inc"
};

absl::Status BadGraph(const std::string& what) {
  return Refuse(absl::StatusCode::kInvalidArgument, "graph: " + what);
}

// gamma < 1, hence c < n and no threshold above n.
GraphRule CompleteRule(uint32_t n, uint8_t mode, uint32_t gamma_ppm) {
  const uint32_t c = CorruptClients(n, gamma_ppm);
  const uint32_t majority = (n + c) / 2 + 1;  // 2 majority > n + c
  GraphRule rule{.kind = kCompleteGraph, .k = n - 1, .corrupt = c};
  rule.t = mode == 1 ? majority : std::max(c + 1, n / 2 + 1);
  rule.quorum = mode == 1 ? majority : 0;
  return rule;
}

absl::StatusOr<GraphRule> RingRule(uint32_t n, uint8_t mode, uint32_t gamma_ppm,
                                   uint32_t delta_ppm) {
  const auto row = std::find_if(std::begin(kRingRows), std::end(kRingRows), [&](const RingRow& at) {
    return at.mode == mode && at.gamma_ppm == gamma_ppm && at.delta_ppm == delta_ppm && at.n >= n;
  });
  if (row == std::end(kRingRows)) {
    return BadGraph("got a ring of " + std::to_string(n) + " in mode " + std::to_string(mode) +
                    " with rates " + std::to_string(gamma_ppm) + " and " +
                    std::to_string(delta_ppm) + " ppm, want rates and a size of the table");
  }
  if (row->k >= n) {
    return BadGraph("got a ring of " + std::to_string(n) + ", want more than its " +
                    std::to_string(row->k) + " neighbours");
  }
  GraphRule rule{.kind = kRingGraph, .k = row->k, .t = row->t, .corrupt = row->c};
  if (mode == 1) rule.quorum = (n + CorruptClients(n, gamma_ppm)) / 2 + 1;
  return rule;
}

// Numbers below a bound from the keystream of the graph key.
class GraphDraws {
 public:
  explicit GraphDraws(const Secret32& key) : stream_(key, kZeroIv) {}

  // Uniform: values at and above the largest multiple of `bound` are drawn again.
  uint64_t Below(uint64_t bound) {
    const uint64_t excess = (0 - bound) % bound;  // 2^64 mod bound
    for (;;) {
      const uint64_t drawn = Next();
      if (excess == 0 || drawn < 0 - excess) return drawn % bound;
    }
  }

 private:
  uint64_t Next() {
    uint8_t bytes[8];
    stream_.Keystream(bytes);
    uint64_t word = 0;
    for (int index = 7; index >= 0; --index) word = word << 8 | bytes[index];
    return word;
  }

  static constexpr std::array<uint8_t, 16> kZeroIv{};
  Aes256Ctr stream_;
};

}  // namespace

uint32_t CorruptClients(uint32_t n, uint32_t gamma_ppm) {
  return std::max<uint32_t>(1, static_cast<uint32_t>(uint64_t{n} * gamma_ppm / 1000000));
}

absl::StatusOr<GraphRule> RuleFor(uint32_t n, uint8_t mode, uint32_t gamma_ppm, uint32_t delta_ppm,
                                  uint8_t graph_policy, uint32_t complete_max) {
  if (mode > 1) return BadGraph("got mode " + std::to_string(mode) + ", want 0 or 1");
  if (graph_policy > 1) {
    return BadGraph("got policy " + std::to_string(graph_policy) + ", want 0 or 1");
  }
  const uint32_t least = mode == 1 ? 4 : 3;
  if (n < least) {
    return BadGraph("got " + std::to_string(n) + " clients, want at least " +
                    std::to_string(least));
  }
  if (gamma_ppm >= 1000000 || delta_ppm >= 1000000) {
    return BadGraph("got rates " + std::to_string(gamma_ppm) + " and " + std::to_string(delta_ppm) +
                    " ppm, want below 1000000");
  }
  if (graph_policy == 0 || n <= complete_max) return CompleteRule(n, mode, gamma_ppm);
  return RingRule(n, mode, gamma_ppm, delta_ppm);
}

std::vector<uint32_t> Permutation(const Secret32& graph_key, uint32_t n) {
  std::vector<uint32_t> pi(n);
  std::iota(pi.begin(), pi.end(), 0u);
  GraphDraws draws(graph_key);
  for (uint32_t last = n; last-- > 1;) std::swap(pi[last], pi[draws.Below(last + 1)]);
  return pi;
}

std::vector<uint32_t> Neighbours(std::span<const uint32_t> pi, uint32_t u, uint32_t k) {
  const auto found = std::find(pi.begin(), pi.end(), u);
  if (found == pi.end() || k % 2 != 0 || k >= pi.size()) {
    std::fputs("rivulet: graph: no such client, or k odd or too large\n", stderr);
    std::abort();
  }
  const size_t n = pi.size(), position = static_cast<size_t>(found - pi.begin());
  std::vector<uint32_t> neighbours;
  for (size_t step = 1; step <= k / 2; ++step) {
    neighbours.push_back(pi[(position + step) % n]);
    neighbours.push_back(pi[(position + n - step) % n]);
  }
  std::sort(neighbours.begin(), neighbours.end());
  return neighbours;
}

std::vector<uint32_t> AllOthers(uint32_t n, uint32_t u) {
  std::vector<uint32_t> others;
  for (uint32_t v = 0; v < n; ++v) {
    if (v != u) others.push_back(v);
  }
  return others;
}

}  // namespace rivulet::secagg
