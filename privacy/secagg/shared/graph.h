#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "privacy/crypto/secret.h"

// Who shares masks and secrets with whom, and the thresholds. Integers only: client and server must
// agree.
namespace rivulet::secagg {

inline constexpr uint8_t kCompleteGraph = 0;
inline constexpr uint8_t kRingGraph = 1;

struct GraphRule {
  uint8_t kind = kCompleteGraph;
  uint32_t k = 0;        // neighbours; the sharing set has k + 1 members
  uint32_t t = 0;        // Shamir threshold
  uint32_t quorum = 0;   // T_g: endorsements of one survivor set; 0 in mode 0, which has none
  uint32_t corrupt = 0;  // c: corrupt members of a sharing set allowed for

  friend bool operator==(const GraphRule&, const GraphRule&) = default;
};

// The rule for a roster of n.
//   mode          0 semi-honest, 1 malicious
//   gamma_ppm     corrupt clients, parts per million
//   delta_ppm     drop-outs, parts per million
//   graph_policy  0 complete only, 1 ring when n > complete_max
// Complete: c = max(1, floor(n gamma)); ring: the row of the compiled table with the smallest
// roster size >= n, for exactly these rates.
// Errors: InvalidArgument (mode, policy, n below 3 in mode 0 or 4 in mode 1, rates of 1 and above;
// of a ring also rates or sizes outside the table, and a row wider than the roster).
absl::StatusOr<GraphRule> RuleFor(uint32_t n, uint8_t mode, uint32_t gamma_ppm, uint32_t delta_ppm,
                                  uint8_t graph_policy, uint32_t complete_max);

// max(1, floor(n gamma_ppm / 10^6)): corrupt clients of the whole roster.
uint32_t CorruptClients(uint32_t n, uint32_t gamma_ppm);

// Fisher-Yates over 0 .. n-1 with draws from the AES-256-CTR keystream of the graph key (IV zero),
// u64 little endian with rejection. pi[position] = client index.
std::vector<uint32_t> Permutation(const Secret32& graph_key, uint32_t n);

// Ring: the clients at positions +-1 .. k/2 around u's, ascending. u must be in `pi`; k even, < n.
std::vector<uint32_t> Neighbours(std::span<const uint32_t> pi, uint32_t u, uint32_t k);
// Complete graph: everybody else, ascending.
std::vector<uint32_t> AllOthers(uint32_t n, uint32_t u);

}  // namespace rivulet::secagg
