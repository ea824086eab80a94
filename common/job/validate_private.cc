#include "common/job/validate_private.h"

#include <algorithm>

#include "common/job/validate_parts.h"

namespace rivulet {

absl::Status CheckPrivateUpload(const JobSpec& spec) {
  RV_RETURN_IF_ERROR(CheckMasking(spec));
  RV_RETURN_IF_ERROR(CheckPrivacy(spec));
  return CheckRobust(spec);
}

std::vector<std::string> PrivateUploadWarnings(const JobSpec& spec) {
  std::vector<std::string> warnings;
  const auto warn = [&warnings](bool when, std::string text) {
    if (when) warnings.push_back(std::move(text));
  };
  const bool factors = spec.method == "lora" && spec.strategy.aggregation == "factor-average";
  warn(factors && IsAmong(spec.privacy.mechanism, {"central", "distributed"}),
       "privacy.mechanism = \"" + spec.privacy.mechanism +
           "\" adds noise to both factors and their product has its square; "
           "strategy.aggregation = \"freeze-a\" avoids that");
  const bool noised_sum =
      spec.privacy.mechanism == "distributed" && spec.secure_aggregation.enabled;
  const std::string width =
      " with privacy.mechanism = \"distributed\": a value is as wide as "
      "privacy.ring-bits = " +
      std::to_string(spec.privacy.ring_bits);
  warn(noised_sum && IsAmong(spec.compression.codec, {"int8", "int4", "int2", "rotate-lattice"}),
       Set("compression.codec", spec.compression.codec) + " has no effect" + width);
  warn(noised_sum && spec.compression.bits > 0,
       "compression.bits = " + std::to_string(spec.compression.bits) + " has no effect" + width);
  warn(EvaluatesInClear(spec),
       "privacy.evaluate-in-clear = true: held-out figures leave every client without noise; "
       "epsilon does not count them");
  warn(spec.privacy.evaluate_in_clear && !EvaluatesInClear(spec),
       "privacy.evaluate-in-clear has no effect with " +
           Set("privacy.mechanism", spec.privacy.mechanism) +
           " and data.held-out-fraction = " + NumberText(spec.data.held_out_fraction));
  warn(
      spec.secure_aggregation.enabled && spec.data.held_out_fraction > 0 && !EvaluatesInClear(spec),
      "secure-aggregation hides updates; held-out sums of each client are still sent in the "
      "clear: data.held-out-fraction = 0.0 sends none");
  warn(
      spec.robust.rule == "norm-bound" && !spec.secure_aggregation.enabled &&
          !IsAmong(spec.strategy.weighting, {"uniform", "capped"}),
      "robust.rule = \"norm-bound\" bounds updates but not the weight that a client claims for its "
      "own; strategy.weighting = \"uniform\" or \"capped\" does");
  const int group = spec.robust.groups > 0 ? spec.job.clients_per_round / spec.robust.groups : 0;
  warn(spec.robust.groups > 0,
       "robust.groups = " + std::to_string(spec.robust.groups) +
           ": the coordinator learns the sum of each group; the fewer clients in one, the more it "
           "says of each");
  warn(group > 0 && group == FewestInSum(spec),
       "job.clients-per-round = " + std::to_string(spec.job.clients_per_round) +
           " makes groups of " + std::to_string(group) +
           ", the fewest in a sum: a client that vanishes costs its whole group");
  warn(spec.privacy.mechanism != "none" && spec.privacy.target_epsilon > 10,
       "privacy.target-epsilon = " + NumberText(spec.privacy.target_epsilon) +
           " promises next to nothing");
  const int population = std::max(spec.privacy.population, spec.simulate.num_clients);
  warn(spec.privacy.mechanism != "none" && spec.privacy.mechanism != "example" && population > 0 &&
           spec.privacy.target_delta > 0.1 / population,
       "privacy.target-delta = " + NumberText(spec.privacy.target_delta) + " is large for " +
           std::to_string(population) + " clients; want at most " + NumberText(0.1 / population));
  return warnings;
}

}  // namespace rivulet
