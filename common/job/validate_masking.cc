#include <array>
#include <cmath>

#include "common/job/validate_parts.h"
#include "common/job/validate_private.h"

namespace rivulet {
namespace {

absl::Status CheckMaskedVotes(const JobSpec& spec) {
  const std::string vote = Set("scalars.combine", spec.scalars.combine);
  if (!IsAmong(spec.compression.codec, {"none", "sign"})) {
    return Clash(vote, Set("compression.codec", spec.compression.codec),
                 "under masks votes are the whole numbers -1, 0 and 1; want codec = \"sign\" or "
                 "\"none\"");
  }
  if (spec.secure_aggregation.rotation == "on") {
    return Clash(vote, Set("secure-aggregation.rotation", "on"),
                 "a rotated vote is no whole number; want rotation = \"auto\" or \"off\"");
  }
  return absl::OkStatus();
}

absl::Status CheckMaskedSigns(const JobSpec& spec, const std::string& codec) {
  if (spec.secure_aggregation.rotation == "off") {
    return Clash(codec, Set("secure-aggregation.rotation", "off"),
                 "signs say how long a vector is once it is rotated; want rotation = \"auto\" or "
                 "\"on\"");
  }
  if (spec.strategy.weighting != "uniform") {
    return Clash(codec, Set("strategy.weighting", spec.strategy.weighting),
                 "under masks a sign has one bit; want weighting = \"uniform\"");
  }
  if (spec.compression.bits > 0) {
    return Clash(codec, "compression.bits = " + std::to_string(spec.compression.bits),
                 "under masks a sign has one bit; want bits = 0, or codec = \"rotate-lattice\"");
  }
  if (IsAmong(spec.privacy.mechanism, {"central", "distributed"})) {
    return Clash(codec, Set("privacy.mechanism", spec.privacy.mechanism),
                 "signs have the same norm whatever the update; want codec = \"rotate-lattice\"");
  }
  return absl::OkStatus();
}

absl::Status CheckMaskedCodec(const JobSpec& spec) {
  const CompressionSection& compression = spec.compression;
  const std::string codec = Set("compression.codec", compression.codec);
  if (compression.codec == "top-k") {
    return Clash(codec, kMasked,
                 "each client sends other places, which would show; want codec = "
                 "\"public-top-k\" or \"random-k\"");
  }
  // Its tensors are public; what each client chooses is their width.
  if (compression.codec == "fed-obd") {
    return Clash(codec, kMasked,
                 "each client chooses the bits of a tensor by its own update, which would show and "
                 "does not add up; want codec = \"public-top-k\" or \"random-k\"");
  }
  if (IsAmong(compression.codec, {"bf16", "fp16"})) {
    return Clash(codec, kMasked, "only integers can be masked; want codec = \"int8\"");
  }
  if (compression.codec == "sign" && !MasksVotes(spec)) {
    return Clash(codec, kMasked,
                 "a scale of each client does not add up; want codec = \"int2\", or \"int4\"");
  }
  if (compression.codec == "eden") {
    return Clash(codec, kMasked,
                 "a scale of each client does not add up; want codec = \"rotate-lattice\", or "
                 "\"drive\", where all share one");
  }
  if (compression.codec == "drive") RV_RETURN_IF_ERROR(CheckMaskedSigns(spec, codec));
  if (compression.zstd) {
    return Clash("compression.zstd = true", kMasked,
                 "masked bytes cannot be compressed; want zstd = false");
  }
  return MasksVotes(spec) ? CheckMaskedVotes(spec) : absl::OkStatus();
}

// power-sgd: a round of the job for each of its two sums.
absl::Status CheckTwoPasses(const JobSpec& spec) {
  if (!InTwoPasses(spec)) return absl::OkStatus();
  const std::string codec = Set("compression.codec", spec.compression.codec);
  if (!spec.secure_aggregation.enabled) {
    return Clash(codec, "secure-aggregation.enabled = false",
                 "its two sums are for masks; want codec = \"low-rank\", or enabled = true");
  }
  if (spec.privacy.mechanism != "none") {
    return Clash(codec, Set("privacy.mechanism", spec.privacy.mechanism),
                 "how much one update moves the second sum depends on the first; want codec = "
                 "\"int8\", or mechanism = \"none\"");
  }
  if (spec.scalars.enabled) {
    return Clash(codec, "scalars.enabled = true",
                 "coefficients are no matrices; want codec = \"none\"");
  }
  if (spec.robust.groups > 0) {
    return Clash(codec, "robust.groups = " + std::to_string(spec.robust.groups),
                 "both sums are of one group; want codec = \"low-rank\", or groups = 0");
  }
  if (spec.strategy.weighting != "uniform") {
    return Clash(codec, Set("strategy.weighting", spec.strategy.weighting),
                 "the second sum has no tokens to weigh by; want weighting = \"uniform\"");
  }
  if (!spec.compression.error_feedback) {
    return Clash(codec, "compression.error-feedback = false",
                 "an update waits for its second sum where error feedback keeps it; want "
                 "error-feedback = true");
  }
  if (spec.job.num_rounds % 2 != 0) {
    return Clash(codec, "job.num-rounds = " + std::to_string(spec.job.num_rounds),
                 "a step of the model takes two rounds; want an even number");
  }
  return absl::OkStatus();
}

bool IsTableRate(double rate) {
  constexpr std::array kRates = {0.05, 0.1, 0.2, 0.333334};
  return std::any_of(kRates.begin(), kRates.end(),
                     [rate](double known) { return std::abs(rate - known) < 1e-9; });
}

}  // namespace

bool MasksVotes(const JobSpec& spec) {
  return spec.secure_aggregation.enabled && spec.scalars.enabled &&
         spec.scalars.combine == "vote" && spec.privacy.mechanism == "none";
}

bool InTwoPasses(const JobSpec& spec) { return spec.compression.codec == "power-sgd"; }

bool IsSecondPass(const JobSpec& spec, uint64_t round) {
  return InTwoPasses(spec) && round > 0 && round % 2 == 0;
}

absl::Status CheckMasking(const JobSpec& spec) {
  const SecureAggregationSection& masking = spec.secure_aggregation;
  RV_RETURN_IF_ERROR(CheckTwoPasses(spec));
  if (!masking.enabled) return absl::OkStatus();
  RV_RETURN_IF_ERROR(CheckMaskedCodec(spec));
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
  if (masking.neighbours > 0) {
    return BadJob("secure-aggregation.neighbours: got " + std::to_string(masking.neighbours) +
                  ", want 0: all up to the protocol's limit, the ring of its table above it");
  }
  if (spec.job.over_selection > 1) {
    return Clash("job.over-selection = " + NumberText(spec.job.over_selection), kMasked,
                 "who is left out after masks were shared counts as dropped; want over-selection = "
                 "1.0 and a smaller job.min-clients");
  }
  return absl::OkStatus();
}

}  // namespace rivulet
