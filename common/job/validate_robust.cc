#include "common/job/validate_parts.h"
#include "common/job/validate_private.h"

namespace rivulet {
namespace {

// Updates that a rule needs for f liars (robust_aggregation.md).
int NeededBy(const std::string& rule, int f) {
  if (rule == "fltrust") return 1;
  if (rule == "krum" || rule == "multi-krum") return 2 * f + 3;
  if (rule == "bulyan") return 4 * f + 3;
  return 2 * f + 1;
}

absl::Status CheckTrusted(const JobSpec& spec) {
  const RobustSection& robust = spec.robust;
  const std::string rule = Set("robust.rule", robust.rule);
  const std::string trusted = Set("robust.trusted-client", robust.trusted_client);
  if (robust.rule != "fltrust") {
    if (robust.trusted_client.empty()) return absl::OkStatus();
    return Clash(trusted, rule,
                 "it judges without a reference; want trusted-client = \"\", or rule = "
                 "\"fltrust\"");
  }
  if (robust.trusted_client.empty()) {
    return Clash(rule, trusted,
                 "there is nothing to judge updates by; want trusted-client = the name of a client "
                 "whose data you trust, or rule = \"median\"");
  }
  if (spec.secure_aggregation.enabled) {
    return Clash(rule, kMasked,
                 "the coordinator sees no single update, that of robust.trusted-client neither; "
                 "want rule = \"median\" and robust.groups, or enabled = false");
  }
  if (robust.norm_bound > 0) {
    return Clash(rule, "robust.norm-bound = " + NumberText(robust.norm_bound),
                 "every update gets the norm of the trusted one; want norm-bound = 0.0");
  }
  if (robust.faulty > 0) {
    return Clash(rule, "robust.faulty = " + std::to_string(robust.faulty),
                 "updates are judged one by one, whatever their number; want faulty = 0");
  }
  return absl::OkStatus();
}

// Fewest members of a group whatever min-survivors says: the protocol's own limit.
constexpr int kSmallestGroup = 4;

absl::Status CheckGroups(const JobSpec& spec) {
  if (spec.robust.groups == 0) return absl::OkStatus();
  const std::string groups = "robust.groups = " + std::to_string(spec.robust.groups);
  if (!spec.secure_aggregation.enabled) {
    return Clash(groups, "secure-aggregation.enabled = false",
                 "the rule sees every plain update; want groups = 0, or enabled = true");
  }
  if (spec.robust.groups == 1) return BadJob("robust.groups: got 1, want 0 or at least 2");
  if (spec.robust.rule == "none") {
    return Clash(groups, Set("robust.rule", "none"),
                 "the mean of groups is that of all, and shows more of each; want groups = 0, or "
                 "rule = \"median\"");
  }
  if (IsAmong(spec.privacy.mechanism, {"central", "distributed"})) {
    return Clash(groups, Set("privacy.mechanism", spec.privacy.mechanism),
                 "the noise is made for one sum of the cohort; want groups = 0");
  }
  const int each = spec.job.clients_per_round / spec.robust.groups;
  const int fewest = FewestInSum(spec);
  if (spec.job.clients_per_round > 0 && each < fewest) {
    return Clash("job.clients-per-round = " + std::to_string(spec.job.clients_per_round), groups,
                 "got groups of " + std::to_string(each) + ", want at least " +
                     std::to_string(fewest) +
                     " in each (secure-aggregation.min-survivors, and never fewer than 4)");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRobust(const JobSpec& spec) {
  const RobustSection& robust = spec.robust;
  RV_RETURN_IF_ERROR(CheckTrusted(spec));
  RV_RETURN_IF_ERROR(CheckGroups(spec));
  if (robust.rule == "none") return absl::OkStatus();
  const std::string rule = Set("robust.rule", robust.rule);
  if (robust.rule == "norm-bound" && robust.norm_bound == 0) {
    return Clash(rule, "robust.norm-bound = 0.0", "want norm-bound > 0");
  }
  if (robust.rule == "norm-bound" && spec.secure_aggregation.enabled && robust.groups == 0) {
    return Clash(rule, kMasked,
                 "every client scales its update to secure-aggregation.range; want rule = "
                 "\"none\", or robust.groups for the means of groups");
  }
  if (robust.rule == "norm-bound") return absl::OkStatus();
  if (spec.secure_aggregation.enabled && robust.groups == 0) {
    return Clash(rule, kMasked,
                 "the coordinator sees no single update; want robust.groups, whose means it sees, "
                 "or rule = \"none\"");
  }
  const int updates = robust.groups > 0 ? robust.groups : spec.job.clients_per_round;
  const int needed = NeededBy(robust.rule, robust.faulty);
  if (updates > 0 && updates < needed) {
    return Clash(rule, "robust.faulty = " + std::to_string(robust.faulty),
                 "got " + std::to_string(updates) +
                     (robust.groups > 0 ? " groups" : " clients a round") + ", want at least " +
                     std::to_string(needed));
  }
  return absl::OkStatus();
}

int FewestGroups(const JobSpec& spec) {
  const bool mean = IsAmong(spec.robust.rule, {"none", "norm-bound"});
  return spec.robust.groups == 0 || mean ? 1 : NeededBy(spec.robust.rule, spec.robust.faulty);
}

int FewestInSum(const JobSpec& spec) {
  const int survivors = spec.secure_aggregation.min_survivors;
  return spec.robust.groups > 0 ? std::max(survivors, kSmallestGroup)
                                : std::max(spec.job.min_clients, survivors);
}

int FewestSummed(const JobSpec& spec) {
  const int fewest = spec.job.min_clients;
  if (spec.secure_aggregation.enabled) {
    return std::max(fewest, FewestGroups(spec) * FewestInSum(spec));
  }
  const bool mean = IsAmong(spec.robust.rule, {"none", "norm-bound"});
  return mean ? fewest : std::max(fewest, NeededBy(spec.robust.rule, spec.robust.faulty));
}

}  // namespace rivulet
