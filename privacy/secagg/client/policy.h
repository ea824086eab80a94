#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"
#include "privacy/secagg/shared/params.h"
#include "privacy/secagg/shared/ring.h"

namespace rivulet::secagg {

// What the owner of the data demands of secure aggregation ([secagg] of the policy file). Nothing a
// server sends widens it.
struct ClientPolicy {
  uint8_t mode_min = 1;              // 1: against a malicious server
  uint32_t n_min = 4;                // fewest clients in a sum
  uint32_t org_min = 1;              // distinct organisations among `orgs` in a roster
  std::vector<std::string> orgs;     // that count; empty: all that the trust store vouches for
  uint32_t gamma_min_ppm = 100'000;  // corrupt clients allowed for
  bool ring = false;                 // whether a ring graph will do
  uint32_t h_min = 3;                // mode 1: honest inputs in any sum the server can open
  uint8_t p_max = kMaxBits - 2;      // of an element, which may hold several values
  uint8_t b_max = kMaxBits;
  uint32_t attempts_max = kMaxAttempts;
  uint8_t dp_min = 0;  // 1: noise by the server will do, 2: only noise under the mask
};

// Whether parameters that are right in themselves (Check) are allowed. Reason: POLICY.
absl::Status CheckPolicy(const ClientPolicy& policy, const Params& params);

// h of the protocol, section 1: the fewest honest inputs in any sum a malicious server can open.
// Complete graph: max(n_min, t) - c; ring: t - c.
uint32_t HonestInputs(const Params& params, const GraphRule& rule);

}  // namespace rivulet::secagg
