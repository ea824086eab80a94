#include "privacy/secagg/client/policy.h"

#include <algorithm>

#include "privacy/secagg/shared/reason.h"

namespace rivulet::secagg {
namespace {

absl::Status Least(std::string_view name, uint64_t got, uint64_t want) {
  if (got >= want) return absl::OkStatus();
  return RefuseFor(Reason::kPolicy, std::string(name) + ": got " + std::to_string(got) +
                                        ", want at least " + std::to_string(want));
}

absl::Status Most(std::string_view name, uint64_t got, uint64_t want) {
  if (got <= want) return absl::OkStatus();
  return RefuseFor(Reason::kPolicy, std::string(name) + ": got " + std::to_string(got) +
                                        ", want at most " + std::to_string(want));
}

// Both distributed mechanisms protect alike.
uint8_t RankOf(uint8_t dp) { return std::min<uint8_t>(dp, 2); }

}  // namespace

absl::Status CheckPolicy(const ClientPolicy& policy, const Params& params) {
  RV_RETURN_IF_ERROR(Least("mode", static_cast<uint8_t>(params.mode), policy.mode_min));
  RV_RETURN_IF_ERROR(Least("dp", RankOf(static_cast<uint8_t>(params.dp)), RankOf(policy.dp_min)));
  RV_RETURN_IF_ERROR(Least("n_min", params.n_min, policy.n_min));
  RV_RETURN_IF_ERROR(Least("gamma_ppm", params.gamma_ppm, policy.gamma_min_ppm));
  RV_RETURN_IF_ERROR(Most("p", params.p, policy.p_max));
  RV_RETURN_IF_ERROR(Most("b", params.b, policy.b_max));
  if (params.attempt >= policy.attempts_max)
    return Most("attempt", params.attempt + 1ull, policy.attempts_max);
  // A cohort that can only be a ring is refused before anything is sent.
  if (!policy.ring && params.graph_policy == GraphPolicy::kRingAllowed &&
      params.roster_min() > params.complete_max)
    return RefuseFor(Reason::kPolicy, "graph: got a ring, want a complete graph");
  return absl::OkStatus();
}

uint32_t HonestInputs(const Params& params, const GraphRule& rule) {
  const uint32_t members = rule.kind == kCompleteGraph ? std::max(params.n_min, rule.t) : rule.t;
  return members > rule.corrupt ? members - rule.corrupt : 0;
}

}  // namespace rivulet::secagg
