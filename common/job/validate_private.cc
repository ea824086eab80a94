#include "common/job/validate_private.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "common/job/bad_job.h"
#include "common/job/job_keys.h"

namespace rivulet {
namespace {

bool IsAmong(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

absl::Status Clash(const std::string& one, const std::string& other, const std::string& why) {
  return BadJob(one + " and " + other + ": " + why);
}

std::string Set(std::string_view key, std::string_view value) {
  return std::string(key) + " = \"" + std::string(value) + "\"";
}

constexpr char kMasked[] = "secure-aggregation.enabled = true";

absl::Status CheckMaskedCodec(const CompressionSection& compression) {
  const std::string codec = Set("compression.codec", compression.codec);
  if (IsAmong(compression.codec, {"top-k", "fed-obd"})) {
    return Clash(codec, kMasked,
                 "each client sends other places, which would show; want codec = "
                 "\"public-top-k\" or \"random-k\"");
  }
  if (IsAmong(compression.codec, {"bf16", "fp16"})) {
    return Clash(codec, kMasked, "only integers can be masked; want codec = \"int8\"");
  }
  if (compression.codec == "sign") {
    return Clash(codec, kMasked,
                 "a scale of each client does not add up; want codec = \"int2\", or \"int4\"");
  }
  if (compression.zstd) {
    return Clash("compression.zstd = true", kMasked,
                 "masked bytes cannot be compressed; want zstd = false");
  }
  return absl::OkStatus();
}

bool IsTableRate(double rate) {
  constexpr std::array kRates = {0.05, 0.1, 0.2, 0.333334};
  return std::any_of(kRates.begin(), kRates.end(),
                     [rate](double known) { return std::abs(rate - known) < 1e-9; });
}

absl::Status CheckMasking(const JobSpec& spec) {
  const SecureAggregationSection& masking = spec.secure_aggregation;
  if (!masking.enabled) return absl::OkStatus();
  RV_RETURN_IF_ERROR(CheckMaskedCodec(spec.compression));
  if (!IsAmong(spec.strategy.weighting, {"uniform", "capped"})) {
    return Clash(Set("strategy.weighting", spec.strategy.weighting), kMasked,
                 "a weight of any size does not fit the masked sum; want weighting = \"uniform\", "
                 "or \"capped\"");
  }
  if (masking.mode == "malicious" && masking.min_survivors < 4) {
    return Clash("secure-aggregation.min-survivors = " + std::to_string(masking.min_survivors),
                 Set("secure-aggregation.mode", masking.mode),
                 "a sum of fewer says too much of each; want min-survivors >= 4");
  }
  if (!IsTableRate(masking.corrupt_fraction)) {
    return BadJob("secure-aggregation.corrupt-fraction: got " +
                  NumberText(masking.corrupt_fraction) + ", want 0.05, 0.1, 0.2 or 0.333334");
  }
  if (spec.job.clients_per_round > 0 && spec.job.clients_per_round < masking.min_survivors) {
    return Clash("job.clients-per-round = " + std::to_string(spec.job.clients_per_round),
                 "secure-aggregation.min-survivors = " + std::to_string(masking.min_survivors),
                 "want clients-per-round >= min-survivors");
  }
  if (masking.threshold > 0) {
    return BadJob("secure-aggregation.threshold: got " + std::to_string(masking.threshold) +
                  ", want 0: clients accept the value of the protocol's table alone");
  }
  if (spec.job.over_selection > 1) {
    return Clash("job.over-selection = " + NumberText(spec.job.over_selection), kMasked,
                 "who is left out after masks were shared counts as dropped; want over-selection = "
                 "1.0 and a smaller job.min-clients");
  }
  return absl::OkStatus();
}

absl::Status CheckSampling(const JobSpec& spec) {
  if (spec.privacy.sampling != "poisson") return absl::OkStatus();
  if (spec.privacy.mechanism != "central") {
    return Clash(Set("privacy.sampling", "poisson"),
                 Set("privacy.mechanism", spec.privacy.mechanism),
                 "nothing is amplified: the cohort is no secret there; want mechanism = "
                 "\"central\"");
  }
  if (spec.secure_aggregation.enabled) {
    return Clash(Set("privacy.sampling", "poisson"), kMasked,
                 "every member of a cohort learns who else is; want sampling = \"none\"");
  }
  if (spec.job.clients_per_round > 0) {
    return Clash(Set("privacy.sampling", "poisson"),
                 "job.clients-per-round = " + std::to_string(spec.job.clients_per_round),
                 "a cohort of fixed size is no Poisson sample; want clients-per-round = 0 and "
                 "fraction-train");
  }
  if (spec.privacy.population == 0) {
    return Clash(Set("privacy.sampling", "poisson"), "privacy.population = 0",
                 "the mean is over the clients expected, whoever came; want population >= 1");
  }
  if (spec.job.selection != "random" || spec.job.over_selection > 1) {
    return Clash(
        Set("privacy.sampling", "poisson"),
        Set("job.selection", spec.job.selection) +
            ", job.over-selection = " + NumberText(spec.job.over_selection),
        "the draw must not depend on anything; want selection = \"random\", over-selection = 1.0");
  }
  return absl::OkStatus();
}

absl::Status CheckCorrelation(const JobSpec& spec) {
  const PrivacySection& privacy = spec.privacy;
  const std::string correlation = Set("privacy.correlation", privacy.correlation);
  const std::string separation =
      "privacy.min-separation = " + std::to_string(privacy.min_separation);
  if (privacy.tree_restart > 0 && privacy.correlation != "tree") {
    return Clash("privacy.tree-restart = " + std::to_string(privacy.tree_restart), correlation,
                 "there is no tree; want tree-restart = 0");
  }
  if (privacy.correlation == "none") {
    if (privacy.min_separation == 1) return absl::OkStatus();
    return Clash(separation, correlation,
                 "nothing is counted by it; want min-separation = 1, or correlation = \"tree\" or "
                 "\"banded\"");
  }
  if (privacy.mechanism != "central") {
    return Clash(correlation, Set("privacy.mechanism", privacy.mechanism),
                 "only the coordinator knows the noise of past rounds; want mechanism = "
                 "\"central\"");
  }
  if (privacy.sampling != "none") {
    return Clash(correlation, Set("privacy.sampling", privacy.sampling),
                 "a drawn cohort keeps no distance between rounds, and nothing is amplified; want "
                 "sampling = \"none\"");
  }
  if (privacy.correlation == "banded" && privacy.min_separation == 1) {
    return Clash(correlation, separation,
                 "one band is noise without correlation; want min-separation >= 2");
  }
  if (privacy.min_separation > 1 &&
      (spec.job.clients_per_round == 0 || spec.job.selection == "all")) {
    return Clash(separation,
                 "job.clients-per-round = " + std::to_string(spec.job.clients_per_round) + ", " +
                     Set("job.selection", spec.job.selection),
                 "one cohort would leave nobody for the next; want clients-per-round >= 1 and "
                 "selection = \"random\"");
  }
  return absl::OkStatus();
}

// The rounding of fewer bits would add more than a hundredth to the norm that is counted.
constexpr int kFewestCountedBits = 6;
constexpr int kFewestUnrotatedBits = 16;

absl::Status CheckCentralMasked(const JobSpec& spec) {
  if (spec.privacy.mechanism != "central" || !spec.secure_aggregation.enabled) {
    return absl::OkStatus();
  }
  const bool rotated = spec.secure_aggregation.rotation != "off";
  const bool coarse = IsAmong(spec.compression.codec, {"int4", "int2"});
  const bool whole = spec.compression.codec == "none";
  const int own = whole ? 16 : coarse ? 4 : 8;
  const int bits = spec.compression.bits > 0 ? spec.compression.bits : own;
  const int fewest = rotated ? kFewestCountedBits : kFewestUnrotatedBits;
  if (bits >= fewest) return absl::OkStatus();
  return Clash(Set("privacy.mechanism", "central"),
               Set("compression.codec", spec.compression.codec) +
                   ", compression.bits = " + std::to_string(spec.compression.bits) + ", " +
                   Set("secure-aggregation.rotation", spec.secure_aggregation.rotation),
               "rounding would be most of what is counted; want at least " +
                   std::to_string(fewest) + " bits");
}

absl::Status CheckAdaptiveClip(const JobSpec& spec) {
  const PrivacySection& privacy = spec.privacy;
  if (!privacy.adaptive_clip) return absl::OkStatus();
  const std::string adaptive = "privacy.adaptive-clip = true";
  if (privacy.mechanism != "central") {
    return Clash(adaptive, Set("privacy.mechanism", privacy.mechanism),
                 "clients are not told the clip norm of a round; want mechanism = \"central\"");
  }
  if (spec.secure_aggregation.enabled) {
    return Clash(adaptive, kMasked,
                 "clients are not told the clip norm of a round; want enabled = false");
  }
  if (privacy.correlation != "none") {
    return Clash(adaptive, Set("privacy.correlation", privacy.correlation),
                 "one event counts all rounds, with one clip norm; want correlation = \"none\"");
  }
  if (privacy.clip_norm < 1e-4 || privacy.clip_norm > 1e3) {
    return Clash(adaptive, "privacy.clip-norm = " + NumberText(privacy.clip_norm),
                 "it starts within its bounds; want clip-norm 0.0001..1000");
  }
  return absl::OkStatus();
}

// What would be sound, but is not built.
absl::Status CheckBuilt(const JobSpec& spec) {
  const std::string mechanism = Set("privacy.mechanism", spec.privacy.mechanism);
  const bool counted = IsAmong(spec.privacy.mechanism, {"central", "distributed"});
  if (counted && spec.secure_aggregation.enabled &&
      IsAmong(spec.compression.codec, {"count-sketch", "low-rank"})) {
    return Clash(mechanism, Set("compression.codec", spec.compression.codec),
                 "its numbers are larger than the update's; want codec = \"none\" or \"random-k\"");
  }

  if (spec.robust.rule == "norm-bound" && spec.secure_aggregation.enabled &&
      spec.robust.groups == 0) {
    return Clash(
        Set("robust.rule", "norm-bound"), kMasked,
        "every client scales its update to secure-aggregation.range; want rule = \"none\", or "
        "robust.groups for the means of groups");
  }
  return absl::OkStatus();
}

absl::Status CheckExamplePrivacy(const JobSpec& spec) {
  const std::string mechanism = Set("privacy.mechanism", "example");
  if (spec.method != "lora") {
    return Clash(mechanism, "[" + spec.method + "]",
                 "gradients of single examples are computed for LoRA only; want [lora]");
  }
  if (spec.data.packing && spec.data.task == "causal-lm") {
    return Clash(mechanism, "data.packing = true",
                 "a packed block holds parts of several records; want packing = false");
  }
  return absl::OkStatus();
}

// Figures of held-out records are a release that nobody adds noise to.
absl::Status CheckHeldOut(const JobSpec& spec) {
  if (!EvaluatesInClear(spec)) return absl::OkStatus();
  const std::string held_out =
      "data.held-out-fraction = " + NumberText(spec.data.held_out_fraction);
  const std::string mechanism = Set("privacy.mechanism", spec.privacy.mechanism);
  if (spec.privacy.mechanism == "example") {
    return Clash(held_out, mechanism,
                 "which records are held out depends on how many there are, and one more would "
                 "change what two others do; want held-out-fraction = 0.0");
  }
  if (spec.privacy.evaluate_in_clear) return absl::OkStatus();
  return Clash(held_out, mechanism,
               "held-out figures leave every client without noise, and epsilon does not count "
               "them; want held-out-fraction = 0.0, or privacy.evaluate-in-clear = true");
}

absl::Status CheckPrivacy(const JobSpec& spec) {
  const PrivacySection& privacy = spec.privacy;
  RV_RETURN_IF_ERROR(CheckSampling(spec));
  RV_RETURN_IF_ERROR(CheckCorrelation(spec));
  RV_RETURN_IF_ERROR(CheckAdaptiveClip(spec));
  if (privacy.mechanism == "none") return absl::OkStatus();
  const std::string mechanism = Set("privacy.mechanism", privacy.mechanism);
  if (privacy.mechanism == "distributed" && !spec.secure_aggregation.enabled) {
    return Clash(mechanism, "secure-aggregation.enabled = false",
                 "each client's share of the noise protects nobody alone; want enabled = true, or "
                 "mechanism = \"central\"");
  }
  if (privacy.noise == "skellam" && privacy.mechanism != "distributed") {
    return Clash(Set("privacy.noise", "skellam"), mechanism, "want noise = \"discrete-gaussian\"");
  }
  if (privacy.mechanism == "example") RV_RETURN_IF_ERROR(CheckExamplePrivacy(spec));
  if (spec.strategy.weighting != "uniform") {
    return Clash(Set("strategy.weighting", spec.strategy.weighting), mechanism,
                 "weights that depend on data are a second release; want weighting = \"uniform\"");
  }
  RV_RETURN_IF_ERROR(CheckCentralMasked(spec));
  if (privacy.mechanism != "example" && !IsAmong(spec.robust.rule, {"none", "norm-bound"}) &&
      spec.robust.groups == 0) {
    return Clash(Set("robust.rule", spec.robust.rule), mechanism,
                 "the noise is made for a mean; want rule = \"none\"");
  }
  if (privacy.mechanism == "central" && !spec.secure_aggregation.enabled &&
      spec.compression.codec == "random-k") {
    return Clash(Set("compression.codec", "random-k"), mechanism,
                 "what is drawn stands for all and is decoded larger than it was sent: the clip "
                 "would take back what the others are worth; want codec = \"public-top-k\", or "
                 "mechanism = \"distributed\"");
  }
  return CheckHeldOut(spec);
}

// Updates that a rule needs for f liars (robust_aggregation.md).
int NeededBy(const std::string& rule, int f) {
  if (rule == "krum" || rule == "multi-krum") return 2 * f + 3;
  if (rule == "bulyan") return 4 * f + 3;
  return 2 * f + 1;
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

absl::Status CheckRobust(const JobSpec& spec) {
  const RobustSection& robust = spec.robust;
  RV_RETURN_IF_ERROR(CheckGroups(spec));
  if (robust.rule == "none") return absl::OkStatus();
  const std::string rule = Set("robust.rule", robust.rule);
  if (robust.rule == "norm-bound" && robust.norm_bound == 0) {
    return Clash(rule, "robust.norm-bound = 0.0", "want norm-bound > 0");
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

}  // namespace

absl::Status CheckPrivateUpload(const JobSpec& spec) {
  RV_RETURN_IF_ERROR(CheckMasking(spec));
  RV_RETURN_IF_ERROR(CheckPrivacy(spec));
  RV_RETURN_IF_ERROR(CheckRobust(spec));
  return CheckBuilt(spec);
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

int FewestGroups(const JobSpec& spec) {
  const bool mean = IsAmong(spec.robust.rule, {"none", "norm-bound"});
  return spec.robust.groups == 0 || mean ? 1 : NeededBy(spec.robust.rule, spec.robust.faulty);
}

int FewestInSum(const JobSpec& spec) {
  const int survivors = spec.secure_aggregation.min_survivors;
  return spec.robust.groups > 0 ? std::max(survivors, kSmallestGroup)
                                : std::max(spec.job.min_clients, survivors);
}

bool EvaluatesInClear(const JobSpec& spec) {
  return spec.privacy.mechanism != "none" && spec.data.held_out_fraction > 0;
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
