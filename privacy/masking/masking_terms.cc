#include "privacy/masking/masking_terms.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/job/validate_private.h"

namespace rivulet {
namespace {

// Above it masks form a ring: the protocol's limits.
constexpr uint32_t kLargestComplete = 256;
constexpr uint32_t kLargestCompleteSemiHonest = 64;

uint32_t PartsPerMillion(double share) { return static_cast<uint32_t>(std::llround(share * 1e6)); }

// Of `cohort` members, all but those that may drop out.
uint32_t FewestOfDrawn(const SecureAggregationSection& masking, uint32_t cohort) {
  // In whole parts per million: the same number on every machine.
  const uint64_t dropped = uint64_t{PartsPerMillion(masking.dropout_fraction)} * cohort / 1'000'000;
  return cohort - static_cast<uint32_t>(dropped);
}

uint32_t FewestOf(const JobSpec& spec) { return static_cast<uint32_t>(FewestInSum(spec)); }

absl::StatusOr<std::string> TermsOfSum(const JobSpec& spec, uint32_t invited) {
  secagg::Params params;
  SetMaskingTerms(spec.secure_aggregation, FewestOf(spec), invited, spec.robust.groups > 0, params);
  RV_ASSIGN_OR_RETURN(const secagg::GraphRule rule, params.RuleOf(invited));
  std::string text = std::to_string(invited) + " clients a sum: neighbours " +
                     std::to_string(rule.k) + ", threshold " + std::to_string(rule.t);
  if (rule.quorum > 0) text += ", quorum " + std::to_string(rule.quorum);
  return text + ", min-survivors " + std::to_string(params.n_min);
}

}  // namespace

void SetMaskingTerms(const SecureAggregationSection& masking, uint32_t fewest, uint32_t invited,
                     bool drawn, secagg::Params& params) {
  const bool malicious = masking.mode == "malicious";
  params.mode = malicious ? secagg::Mode::kMalicious : secagg::Mode::kSemiHonest;
  params.gamma_ppm = PartsPerMillion(masking.corrupt_fraction);
  params.delta_ppm = PartsPerMillion(masking.dropout_fraction);
  params.n_min = std::max(fewest, params.roster_min());
  if (drawn) params.n_min = std::max(params.n_min, FewestOfDrawn(masking, invited));
  params.n_max = invited;
  params.complete_max = malicious ? kLargestComplete : kLargestCompleteSemiHonest;
  params.graph_policy = invited > params.complete_max ? secagg::GraphPolicy::kRingAllowed
                                                      : secagg::GraphPolicy::kCompleteOnly;
}

uint32_t MaskedSums(uint32_t groups, uint32_t least, uint32_t cohort) {
  return std::clamp<uint32_t>(cohort / least, 1, std::max<uint32_t>(groups, 1));
}

absl::StatusOr<std::string> MaskingTermsText(const JobSpec& spec, uint32_t cohort) {
  secagg::Params params;
  SetMaskingTerms(spec.secure_aggregation, FewestOf(spec), cohort, /*drawn=*/false, params);
  const uint32_t sums = MaskedSums(static_cast<uint32_t>(spec.robust.groups), params.n_min, cohort);
  const uint32_t smaller = cohort / sums;
  RV_ASSIGN_OR_RETURN(const std::string text, TermsOfSum(spec, smaller));
  if (cohort % sums == 0) return text;
  RV_ASSIGN_OR_RETURN(const std::string larger, TermsOfSum(spec, smaller + 1));
  return text + "; " + larger;
}

std::string MaskingComment(const JobSpec& spec) {
  if (!spec.secure_aggregation.enabled) return "";
  std::string comment = "\n# secure-aggregation, in force where a key is 0:\n";
  std::vector<uint32_t> cohorts = {static_cast<uint32_t>(spec.job.clients_per_round)};
  if (cohorts[0] == 0) {
    comment += "# (job.clients-per-round is 0: the size of the cohort decides)\n";
    cohorts[0] = static_cast<uint32_t>(FewestSummed(spec));
    for (const uint32_t larger : {16, 64, 256, 1000}) {
      if (larger > cohorts[0]) cohorts.push_back(larger);
    }
  }
  for (const uint32_t cohort : cohorts) {
    const auto terms = MaskingTermsText(spec, cohort);
    comment += "# " + (terms.ok() ? *terms : std::string(terms.status().message())) + "\n";
  }
  return comment;
}

}  // namespace rivulet
