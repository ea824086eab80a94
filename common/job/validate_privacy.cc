#include "common/job/validate_parts.h"
#include "common/job/validate_private.h"

namespace rivulet {
namespace {

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
  if (!IsAmong(privacy.mechanism, {"central", "distributed"})) {
    return Clash(adaptive, Set("privacy.mechanism", privacy.mechanism),
                 "nothing would hide whose norm it follows; want mechanism = \"central\" or "
                 "\"distributed\"");
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

// Their numbers are larger than the update's: it would be sound, but is not built.
absl::Status CheckCountedCodec(const JobSpec& spec) {
  if (!IsAmong(spec.privacy.mechanism, {"central", "distributed"}) ||
      !spec.secure_aggregation.enabled ||
      !IsAmong(spec.compression.codec, {"count-sketch", "low-rank"})) {
    return absl::OkStatus();
  }
  return Clash(Set("privacy.mechanism", spec.privacy.mechanism),
               Set("compression.codec", spec.compression.codec),
               "its numbers are larger than the update's; want codec = \"none\" or \"random-k\"");
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

}  // namespace

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
  RV_RETURN_IF_ERROR(CheckCountedCodec(spec));
  return CheckHeldOut(spec);
}

bool EvaluatesInClear(const JobSpec& spec) {
  return spec.privacy.mechanism != "none" && spec.data.held_out_fraction > 0;
}

}  // namespace rivulet
