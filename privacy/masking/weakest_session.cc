#include "privacy/masking/weakest_session.h"

#include <algorithm>

namespace rivulet {

absl::StatusOr<SessionShape> WeakestSession(const secagg::Params& params) {
  const bool malicious = params.mode == secagg::Mode::kMalicious;
  SessionShape weakest;
  weakest.threat = malicious ? SessionShape::Threat::kMalicious : SessionShape::Threat::kSemiHonest;
  weakest.least = params.n_min;
  weakest.most = params.n_max;
  weakest.corrupt_ppm = params.gamma_ppm;
  RV_ASSIGN_OR_RETURN(
      const secagg::GraphRule complete,
      secagg::RuleFor(params.n_min, static_cast<uint8_t>(params.mode), params.gamma_ppm,
                      params.delta_ppm, secagg::kCompleteGraph, params.complete_max));
  weakest.threshold = complete.t;
  if (!malicious || params.graph_policy == secagg::GraphPolicy::kCompleteOnly) return weakest;
  RV_ASSIGN_OR_RETURN(NoiseShares shares, weakest.Shares());
  const uint32_t smallest_ring = std::max(params.n_min, params.complete_max + 1);
  for (uint32_t n = smallest_ring; n <= params.n_max; ++n) {
    RV_ASSIGN_OR_RETURN(const secagg::GraphRule rule, params.RuleOf(n));
    SessionShape ring = weakest;
    ring.graph = SessionShape::Graph::kRing;
    ring.threshold = rule.t;
    ring.corrupt_neighbours = rule.corrupt;
    RV_ASSIGN_OR_RETURN(const NoiseShares of_ring, ring.Shares());
    if (of_ring.effective() >= shares.effective()) continue;
    weakest = ring;
    shares = of_ring;
  }
  return weakest;
}

}  // namespace rivulet
