#include "privacy/masking/masked_form.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "common/job/job_keys.h"
#include "common/job/validate_private.h"
#include "common/random.h"
#include "privacy/dp/accountant.h"
#include "privacy/dp/adaptive_clip.h"
#include "privacy/dp/rounding.h"
#include "privacy/masking/keystream_words.h"
#include "privacy/masking/masking_terms.h"
#include "privacy/masking/signs.h"
#include "privacy/masking/weakest_session.h"
#include "privacy/secagg/shared/bytes.h"
#include "privacy/secagg/shared/transcript.h"

namespace rivulet {
namespace {

constexpr int kLargestBlock = 16;  // log2 of numbers that are rotated together
constexpr int kSmallestBlock = 8;
constexpr int kCappedWeights = 255;
constexpr uint32_t kSketchRows = 5;
constexpr int kVoteBits = 2;  // and of a sign

int ValueBitsOf(const JobSpec& spec) {
  const CompressionSection& compression = spec.compression;
  if (MasksVotes(spec) || compression.codec == "drive") return kVoteBits;
  if (compression.bits > 0) return compression.bits;
  if (compression.codec == "int4") return 4;
  if (compression.codec == "int2") return 2;
  return compression.codec == "none" ? 16 : 8;
}

bool IsRotated(const std::string& codec) { return codec == "rotate-lattice" || codec == "drive"; }

// Vectors of so many numbers are rotated, shorter ones are not. With rotation = "auto" those that
// would be padded to several times as many: section 10 (e) of the protocol's document.
size_t FewestRotated(const JobSpec& spec, int bits) {
  constexpr size_t kNever = std::numeric_limits<size_t>::max();
  const std::string& rotation = spec.secure_aggregation.rotation;
  if (MasksVotes(spec)) return kNever;
  // The bound of a noised sum counts on coordinates of even size.
  if (spec.privacy.mechanism == "distributed" || spec.privacy.mechanism == "central") {
    return rotation == "off" ? kNever : 1;
  }
  if (IsRotated(spec.compression.codec) || rotation == "on") return 1;
  return rotation == "auto" && bits <= 12 ? size_t{1} << kSmallestBlock : kNever;
}

// The largest block that pads by no more than 1/64, else the one that pads least.
int BlockLog2Of(size_t numbers) {
  const auto padding = [numbers](int log2) {
    const size_t block = size_t{1} << log2;
    return (numbers + block - 1) / block * block - numbers;
  };
  int best = kSmallestBlock;
  for (int log2 = kLargestBlock; log2 >= kSmallestBlock; --log2) {
    if (padding(log2) <= numbers / 64) return log2;
    if (padding(log2) < padding(best)) best = log2;
  }
  return best;
}

uint32_t ColumnsOf(size_t numbers, double fraction) {
  const double wanted = fraction * static_cast<double>(numbers) / kSketchRows;
  return static_cast<uint32_t>(std::max(1.0, std::round(wanted)));
}

size_t SubsetSize(size_t numbers, double fraction) {
  return std::max<size_t>(
      1, static_cast<size_t>(std::llround(fraction * static_cast<double>(numbers))));
}

uint32_t DigitsFor(int bits, int digit_bits) {
  return static_cast<uint32_t>((bits + digit_bits - 1) / digit_bits);
}

Bytes32 HexBytes(const std::string& hex) {
  Bytes32 out{};
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (size_t byte = 0; byte < out.size() && 2 * byte + 1 < hex.size(); ++byte) {
    out[byte] = static_cast<uint8_t>(digit(hex[2 * byte]) * 16 + digit(hex[2 * byte + 1]));
  }
  return out;
}

absl::StatusOr<double> EpsilonOf(const DistributedNoise& noise, int64_t rounds, double delta) {
  RV_ASSIGN_OR_RETURN(const PrivacyEvent event, noise.Event(rounds));
  Accountant accountant(PrivacyUnit::kClient);
  RV_RETURN_IF_ERROR(accountant.Compose(event));
  RV_ASSIGN_OR_RETURN(const Epsilon epsilon, accountant.EpsilonAt(delta));
  return epsilon.pld;
}

// z of a round, split between data and bit where there is one.
absl::Status SetMultiplier(double z, const std::optional<AdaptiveClip>& clip,
                           DistributedNoise& noise) {
  noise.noise_multiplier = z;
  if (!clip) return absl::OkStatus();
  noise.total_multiplier = z;
  RV_ASSIGN_OR_RETURN(noise.noise_multiplier, clip->VectorNoiseMultiplier(z));
  return absl::OkStatus();
}

// The smallest multiplier, to 1e-3, with which all rounds together keep the target.
absl::Status Calibrate(const PrivacySection& privacy, int64_t rounds,
                       const std::optional<AdaptiveClip>& clip, DistributedNoise& noise) {
  const auto keeps = [&](double z) {
    if (!SetMultiplier(z, clip, noise).ok()) return false;
    const auto epsilon = EpsilonOf(noise, rounds, privacy.target_delta);
    return epsilon.ok() && *epsilon <= privacy.target_epsilon;
  };
  constexpr double kMost = 2000, kBelow = 1 - 1e-3;  // a bit alone would cost 2 sigma_b
  const double most = clip ? std::min(kMost, 2 * clip->BitSigma() * kBelow) : kMost;
  double low = 0, high = std::min(0.05, most);
  while (!keeps(high)) {
    if (high >= most) {
      return Refuse(
          absl::StatusCode::kInvalidArgument,
          "privacy.target-epsilon: got " + FormatEpsilon(privacy.target_epsilon) +
              ", which no noise of privacy.ring-bits = " + std::to_string(privacy.ring_bits) +
              " reaches; want more bits, more clients or fewer rounds");
    }
    low = high;
    high = std::min(2 * high, most);
  }
  while (high - low > 1e-3 * high) {
    const double middle = (low + high) / 2;
    (keeps(middle) ? high : low) = middle;
  }
  return SetMultiplier(high, clip, noise);
}

}  // namespace

absl::StatusOr<MaskedForm> MaskedForm::Of(const JobSpec& spec, const Manifest& manifest) {
  RV_RETURN_IF_ERROR(CheckF32(manifest));
  MaskedForm form;
  form.manifest_ = manifest;
  form.compression_ = spec.compression;
  form.strategy_ = spec.strategy;
  form.masking_ = spec.secure_aggregation;
  form.privacy_ = spec.privacy;
  form.mechanism_ = spec.privacy.mechanism;
  form.rounds_ = spec.job.num_rounds;
  form.seed_ = spec.job.seed;
  form.fewest_ = static_cast<uint32_t>(FewestInSum(spec));
  form.groups_ = static_cast<uint32_t>(spec.robust.groups);
  form.fewest_drawn_ = static_cast<uint32_t>(FewestSummed(spec));
  form.numbers_ = FlatNumbers(manifest);
  form.votes_ = MasksVotes(spec);
  form.signs_ = spec.compression.codec == "drive" && !form.counted();
  form.value_bits_ = form.noised() ? spec.privacy.ring_bits : ValueBitsOf(spec);
  form.max_weight_ = spec.strategy.weighting == "capped" ? kCappedWeights : 1;
  form.range_ = form.counted() ? spec.privacy.clip_norm : spec.secure_aggregation.range;
  if (form.votes_) form.range_ = std::sqrt(static_cast<double>(form.numbers_));
  if (form.numbers_ == 0) {
    return Refuse(absl::StatusCode::kInvalidArgument, "job: got no trainable number to mask");
  }
  if (form.value_bits_ < 2) {
    return Refuse(absl::StatusCode::kInvalidArgument, "compression.bits: got " +
                                                          std::to_string(form.value_bits_) +
                                                          ", want at least 2 of a masked value");
  }
  RV_RETURN_IF_ERROR(form.CheckMembers(static_cast<uint32_t>(spec.job.clients_per_round)));
  form.fewest_rotated_ = FewestRotated(spec, form.value_bits_);
  RV_RETURN_IF_ERROR(form.Measure());
  form.two_passes_ = InTwoPasses(spec);
  if (!form.two_passes_) return form;
  if (form.size_.reduced == 0) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "compression.rank: got " + std::to_string(spec.compression.rank) +
                      ", which makes no tensor of this job smaller; want a smaller one, or "
                      "compression.codec = \"int8\"");
  }
  MaskedForm second = form;
  second.first_sha256_ = "of any";
  RV_RETURN_IF_ERROR(second.Measure());
  form.second_ = second.size_;
  return form;
}

// How long a vector is, which does not depend on the round.
absl::Status MaskedForm::Measure() {
  constexpr uint64_t kAnyRound = 2;
  const std::vector<float> first(second_pass() ? size_.reduced : 0);
  size_.rotation_log2 = 0;
  RV_ASSIGN_OR_RETURN(const Maps maps, MapsOf(kAnyRound, Bytes32{}, Bytes32{}, first));
  size_.reduced = maps.reduced;
  if (size_.reduced >= fewest_rotated_) size_.rotation_log2 = BlockLog2Of(size_.reduced);
  RV_ASSIGN_OR_RETURN(const Maps all, MapsOf(kAnyRound, Bytes32{}, Bytes32{}, first));
  size_.values = all.rotate->OutputSize(size_.reduced);
  return absl::OkStatus();
}

// Where the size of cohorts is known before there is one.
absl::Status MaskedForm::CheckMembers(uint32_t cohort) const {
  if (cohort <= secagg::kMaxMembers) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "job.clients-per-round: got " + std::to_string(cohort) + ", want at most " +
                    std::to_string(secagg::kMaxMembers) + " clients in one " +
                    (grouped() ? "draw of groups" : "masked sum"));
}

absl::Status MaskedForm::CheckCohort(uint32_t cohort) const {
  if (cohort == 0 || grouped()) return absl::OkStatus();
  const secagg::Params params = ParamsOf({.attempt = 1, .cohort = cohort});
  if (!params.RuleOf(cohort).ok()) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "secure-aggregation.corrupt-fraction = " + NumberText(masking_.corrupt_fraction) +
            " and dropout-fraction = " + NumberText(masking_.dropout_fraction) +
            ": the protocol has no ring of job.clients-per-round = " + std::to_string(cohort) +
            " with these; want 0.05 with 0.05, 0.1 or 0.3, 0.1 with 0.1 or 0.2, or 0.2 "
            "with 0.2, or at most " +
            std::to_string(params.complete_max) + " clients");
  }
  return noised() ? SureSession(params).status() : absl::OkStatus();
}

MaskedForm MaskedForm::OfRound(double clip_norm) const {
  MaskedForm form = *this;
  if (adaptive()) form.range_ = clip_norm;
  return form;
}

MaskedForm MaskedForm::OfSecondPass(const std::string& first_sha256) const {
  MaskedForm form = *this;
  form.first_sha256_ = first_sha256;
  if (form.second_pass()) form.size_ = second_;
  return form;
}

absl::StatusOr<std::vector<float>> MaskedForm::FirstPartOf(uint64_t round,
                                                           std::span<const float> mean,
                                                           std::span<const float> first) const {
  return PowerSgdFirstPart(manifest_, static_cast<uint32_t>(compression_.rank),
                           RootOf(seed_, round - 1, ""), round - 1, mean, first);
}

// The round configuration of one session: the job's document, with groups also which of them and of
// which draw, with adaptive clipping also the clip norm. In a second pass also what the first came
// to: were it another for each client, a sum could be that of one alone.
Bytes32 MaskedForm::ConfigOf(const MaskedAttempt& attempt) const {
  Bytes32 config = Sha256Of(attempt.document);
  if (groups_ > 0) {
    secagg::ByteWriter out(128);
    out.Lp("rivulet/group").Raw(secagg::ViewOf(config)).U32(groups_).U32(attempt.group);
    out.Raw(attempt.drawn);
    config = Sha256Of(out.Take());
  }
  if (second_pass()) {
    secagg::ByteWriter out(96);
    out.Lp("rivulet/first-pass").Raw(secagg::ViewOf(config));
    config = Sha256Of(out.Raw(secagg::ViewOf(HexBytes(first_sha256_))).Take());
  }
  if (adaptive()) {
    secagg::ByteWriter out(64);
    out.Lp("rivulet/clip").Raw(secagg::ViewOf(config)).U64(std::bit_cast<uint64_t>(range_));
    config = Sha256Of(out.Take());
  }
  return config;
}

LatticeParams MaskedForm::lattice() const {
  if (votes_) return {value_bits_, 1};  // one step is one vote: nothing is left to round
  if (signs_) return {value_bits_, SignStep(range_, values())};
  if (!rotated()) return {value_bits_, LatticeBound(range_, 0)};
  return {value_bits_, LatticeBound(range_, values(), LatticeDeviations(value_bits_))};
}

SlotLayout MaskedForm::SlotsOf(uint32_t clients) const {
  if (noised()) return SlotLayout::Single(value_bits_);
  if (signs_) return SlotLayout::OfSigns(clients);
  return votes_ ? SlotLayout::OfVotes(clients)
                : SlotLayout(value_bits_, uint64_t{clients} * max_weight_);
}

double MaskedForm::norm_bound() const {
  return RoundedNormBound(lattice().scale() * range_, static_cast<int64_t>(values()));
}

bool MaskedForm::feedback() const {
  const std::string& codec = compression_.codec;
  const bool partial = codec == "random-k" || codec == "public-top-k" || codec == "low-rank" ||
                       codec == "count-sketch" || two_passes_;
  return compression_.error_feedback && partial && mechanism_ == "none";
}

absl::StatusOr<MaskedForm::Maps> MaskedForm::MapsOf(uint64_t round, const Bytes32& sid0,
                                                    const Bytes32& sid,
                                                    std::span<const float> previous) const {
  const std::string& codec = compression_.codec;
  const uint64_t root = RootOf(seed_, round, "");
  const PhiloxWords words(RandomStream(root, Purpose::kPublicSubset, round));
  Maps maps;
  if (codec == "random-k") {
    maps.reduce = NewRandomK(numbers_, SubsetSize(numbers_, compression_.fraction), words,
                             /*scaled=*/!feedback());
  } else if (codec == "public-top-k") {
    maps.reduce =
        NewPublicTopK(numbers_, SubsetSize(numbers_, compression_.fraction), previous, words);
  } else if (codec == "count-sketch") {
    maps.reduce =
        NewCountSketch(kSketchRows, ColumnsOf(numbers_, compression_.fraction), root, round);
  } else if (codec == "low-rank") {
    maps.reduce = NewLowRankLeft(manifest_, static_cast<uint32_t>(compression_.rank), root, round);
  } else if (second_pass()) {  // Q is that of the first
    RV_ASSIGN_OR_RETURN(maps.reduce,
                        NewPowerSgdSecond(manifest_, static_cast<uint32_t>(compression_.rank),
                                          RootOf(seed_, round - 1, ""), round - 1, previous));
  } else if (codec == "power-sgd") {
    maps.reduce =
        NewPowerSgdFirst(manifest_, static_cast<uint32_t>(compression_.rank), root, round);
  } else {
    maps.reduce = NewIdentity();
  }
  maps.reduced = maps.reduce->OutputSize(numbers_);
  if (!rotated()) {
    maps.rotate = NewIdentity();
  } else {
    auto signs = std::make_shared<KeystreamWords>(secagg::PublicStream(sid0, sid, "rvl1/rot"));
    RV_ASSIGN_OR_RETURN(maps.rotate, NewRotation(size_.rotation_log2, std::move(signs)));
  }
  return maps;
}

secagg::Params MaskedForm::ParamsOf(const MaskedAttempt& attempt) const {
  secagg::Params params;
  const Sha256Digest job = Sha256Of(attempt.job);
  std::memcpy(params.job_id.data(), job.data(), params.job_id.size());
  params.round = attempt.round;
  params.attempt = attempt.attempt - 1;
  params.model_sha256 = HexBytes(attempt.state_sha256);
  params.config_sha256 = ConfigOf(attempt);
  const SlotLayout slots = SlotsOf(attempt.cohort);
  params.d = slots.ElementsFor(values());
  params.p = static_cast<uint8_t>(slots.element_bits());
  params.d_aux = 1 + static_cast<uint32_t>(adaptive()) + secagg::kChecksums;
  if (!counted()) {
    const int digit = FigureBits(params);
    for (const int bits : {kExamplesBits, kTokensBits, kStepsBits, kLossBits}) {
      params.d_aux += DigitsFor(bits, digit);
    }
  }
  params.W = max_weight_;
  SetMaskingTerms(masking_, fewest_, attempt.cohort, attempt.drawn != Bytes32{}, params);
  if (central()) params.dp = secagg::Noise::kCentral;
  if (noised()) {
    params.dp = privacy_.noise == "skellam" ? secagg::Noise::kSkellam : secagg::Noise::kGaussian;
  }
  params.b = static_cast<uint8_t>(secagg::RingBits(params));
  return params;
}

uint32_t MaskedForm::GroupsOf(uint32_t cohort) const {
  const uint32_t least = ParamsOf({.attempt = 1, .cohort = cohort}).n_min;
  return MaskedSums(groups_, least, cohort);
}

absl::StatusOr<SessionShape> MaskedForm::SureSession(const secagg::Params& params) const {
  const absl::StatusOr<SessionShape> session = WeakestSession(params);
  if (session.ok() && session->Shares().ok()) return session;
  RV_RETURN_IF_ERROR(params.RuleOf(params.n_max).status());
  const uint32_t corrupt = secagg::CorruptClients(params.n_max, params.gamma_ppm);
  return Refuse(absl::StatusCode::kInvalidArgument,
                "privacy.mechanism = \"distributed\" and " + std::to_string(params.n_min) +
                    " clients in a sum, at least: of " + std::to_string(params.n_max) +
                    " there may be " + std::to_string(corrupt) +
                    " that add no noise (secure-aggregation.corrupt-fraction = " +
                    NumberText(masking_.corrupt_fraction) +
                    "), so no share of it is sure; want job.min-clients or "
                    "secure-aggregation.min-survivors of at least " +
                    std::to_string(corrupt + 1) + ", and near the cohort for little noise");
}

absl::StatusOr<DistributedNoise> MaskedForm::NoiseOf(const secagg::Params& params) const {
  DistributedNoise noise;
  noise.noise = params.dp == secagg::Noise::kSkellam ? DistributedEvent::Noise::kSkellam
                                                     : DistributedEvent::Noise::kDiscreteGaussian;
  noise.clip_norm = privacy_.clip_norm;  // z must not depend on that of the round
  noise.values = static_cast<int64_t>(values());
  noise.accumulator_bits = privacy_.ring_bits;
  RV_ASSIGN_OR_RETURN(noise.session, SureSession(params));
  std::optional<AdaptiveClip> clip;
  if (adaptive()) clip = AdaptiveClip{.expected = params.n_max};
  RV_RETURN_IF_ERROR(privacy_.noise_multiplier == 0
                         ? Calibrate(privacy_, rounds_, clip, noise)
                         : SetMultiplier(privacy_.noise_multiplier, clip, noise));
  noise.clip_norm = range_;
  return noise;
}

uint32_t MaskedForm::WeightOf(int64_t tokens) const {
  if (max_weight_ == 1 || strategy_.weight_cap <= 0) return 1;
  const int64_t capped = std::clamp<int64_t>(tokens, 0, strategy_.weight_cap);
  return static_cast<uint32_t>(std::max<int64_t>(1, capped * max_weight_ / strategy_.weight_cap));
}

}  // namespace rivulet
