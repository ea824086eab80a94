#include "privacy/masking/masked_vector.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "aggregation/codec/lattice.h"
#include "common/scalars/vote.h"
#include "privacy/dp/adaptive_clip.h"
#include "privacy/dp/rounding.h"
#include "privacy/masking/signs.h"

namespace rivulet {
namespace {

constexpr double kBelowRange = 1 - 1e-6;  // rounding must not lift a clipped norm above the range

double NormOf(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += double{value} * value;
  return std::sqrt(sum);
}

AesWords SecretWords(Entropy& entropy) {
  const Secret32 key = entropy.Secret();
  return AesWords(key.bytes());
}

absl::StatusOr<NoiseSeed> FreshSeed(Entropy& entropy) {
  const Secret32 secret = entropy.Secret();
  const auto bytes = secret.bytes();
  return NoiseSeed::FromStored(
      std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

// What a client sends where its update is counted.
struct Counted {
  std::vector<int64_t> integers;
  int64_t bit = 0;  // of adaptive clipping
  size_t clamped = 0;
};

// Rounds within the norm that privacy is counted by, and adds this client's share of the noise.
absl::Status AddNoised(const MaskedForm& form, const secagg::Params& params,
                       std::span<const float> rotated, Entropy& entropy, Counted& counted) {
  RV_ASSIGN_OR_RETURN(const DistributedNoise noise, form.NoiseOf(params));
  RV_ASSIGN_OR_RETURN(const DistributedPlan plan, noise.Plan());
  AesWords words = SecretWords(entropy);
  RV_RETURN_IF_ERROR(
      RoundWithinNorm(rotated, plan.scale, plan.norm_bound, words, counted.integers).status());
  RV_ASSIGN_OR_RETURN(const NoiseSeed seed, FreshSeed(entropy));
  RV_RETURN_IF_ERROR(AddNoiseShare(seed, noise.noise, plan.local_variance, counted.integers));
  if (!form.adaptive()) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(const NoiseSeed own, FreshSeed(entropy));
  return AddNoiseShare(own, noise.noise, plan.bit_variance, {&counted.bit, 1});
}

// Rounds within the norm that the coordinator's noise is scaled by; clamped to the lattice, which
// only shortens.
absl::Status AddBounded(const MaskedForm& form, std::span<const float> rotated, Entropy& entropy,
                        Counted& counted) {
  AesWords words = SecretWords(entropy);
  const LatticeParams lattice = form.lattice();
  RV_RETURN_IF_ERROR(
      RoundWithinNorm(rotated, lattice.scale(), form.norm_bound(), words, counted.integers)
          .status());
  const int64_t limit = lattice.limit();
  for (int64_t& value : counted.integers) {
    const int64_t inside = std::clamp(value, -limit, limit);
    counted.clamped += inside != value ? 1 : 0;
    value = inside;
  }
  return absl::OkStatus();
}

// The vector of an update of that norm under a mechanism.
absl::Status EncodeCounted(const MaskedForm& form, const secagg::Params& params,
                           std::span<const float> rotated, Entropy& entropy,
                           EncodedUpdate& encoded) {
  Counted counted{std::vector<int64_t>(rotated.size())};
  counted.bit = ClipBitCoordinate(encoded.norm <= form.range());
  RV_RETURN_IF_ERROR(form.noised() ? AddNoised(form, params, rotated, entropy, counted)
                                   : AddBounded(form, rotated, entropy, counted));
  encoded.clamped = counted.clamped;
  encoded.vector = secagg::RingVector(params.b, params.length());
  form.SlotsOf(params.n_max).Write(counted.integers, encoded.vector);
  encoded.vector.Set(params.d, 1);
  if (form.adaptive()) encoded.vector.SetSigned(params.d + 1, counted.bit);
  return absl::OkStatus();
}

struct Figure {
  int bits;
  int64_t value;
};

std::array<Figure, 4> FiguresToSend(const MaskedFigures& figures) {
  const double loss = std::isfinite(figures.loss) ? figures.loss : 0;
  return {Figure{kExamplesBits, figures.examples}, Figure{kTokensBits, figures.tokens},
          Figure{kStepsBits, figures.steps},
          Figure{kLossBits, std::llround(std::clamp(loss, 0.0, 1e6) / kLossUnit)}};
}

void WriteFigures(const secagg::Params& params, const MaskedFigures& figures,
                  secagg::RingVector& out) {
  const int digit = FigureBits(params);
  size_t at = params.d + 1;
  for (const Figure& figure : FiguresToSend(figures)) {
    const int64_t most = (int64_t{1} << figure.bits) - 1;
    const auto value = static_cast<uint64_t>(std::clamp<int64_t>(figure.value, 0, most));
    for (int bit = 0; bit < figure.bits; bit += digit) {
      out.Set(at++, (value >> bit) & ((uint64_t{1} << digit) - 1));
    }
  }
}

// A vector of these values, without noise.
void WriteVector(const MaskedForm& form, const secagg::Params& params,
                 std::span<const int64_t> values, uint32_t weight, const MaskedFigures& figures,
                 EncodedUpdate& encoded) {
  encoded.vector = secagg::RingVector(params.b, params.length());
  form.SlotsOf(params.n_max).Write(values, encoded.vector);
  encoded.vector.Set(params.d, weight);
  WriteFigures(params, figures, encoded.vector);
}

// Digits of a sum carry into each other: no digit is ever above 2^62 / clients.
MaskedFigures ReadFigures(const secagg::Params& params, const secagg::RingVector& sum) {
  const int digit = FigureBits(params);
  size_t at = params.d + 1;
  std::array<double, 4> values{};
  const std::array<Figure, 4> layout = FiguresToSend({});
  for (size_t each = 0; each < layout.size(); ++each) {
    double unit = 1;
    for (int bit = 0; bit < layout[each].bits; bit += digit) {
      values[each] += unit * static_cast<double>(sum.SignedAt(at++));
      unit *= static_cast<double>(int64_t{1} << digit);
    }
  }
  MaskedFigures figures;
  figures.examples = std::llround(std::clamp(values[0], 0.0, 0x1p62));
  figures.tokens = std::llround(std::clamp(values[1], 0.0, 0x1p62));
  figures.steps = std::llround(std::clamp(values[2], 0.0, 0x1p62));
  figures.loss = values[3] * kLossUnit;
  return figures;
}

absl::Status CheckVotes(std::span<const float> values) {
  const auto bad = std::ranges::find_if_not(values, IsVote);
  if (bad == values.end()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "update: vote " + std::to_string(bad - values.begin()) + ": got " +
                    std::to_string(*bad) + ", want -1, 0 or 1");
}

// The numbers that travel, scaled down to the range.
absl::StatusOr<std::vector<float>> Clipped(const MaskedForm& form, const ParameterSet& delta,
                                           const ParameterSet* residual, double* norm) {
  RV_RETURN_IF_ERROR(SameManifest(delta.manifest(), form.manifest()));
  RV_RETURN_IF_ERROR(CheckFinite(delta));
  std::vector<float> storage;
  const std::span<const float> flat = Flatten(delta, storage);
  std::vector<float> values(flat.begin(), flat.end());
  if (residual != nullptr) {
    std::vector<float> kept;
    const std::span<const float> rest = Flatten(*residual, kept);
    for (size_t i = 0; i < values.size(); ++i) values[i] += rest[i];
  }
  if (form.votes()) RV_RETURN_IF_ERROR(CheckVotes(values));
  *norm = NormOf(values);
  if (!std::isfinite(*norm)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "update: got an L2 norm that is not finite, want one of at most " +
                      std::to_string(form.range()));
  }
  if (*norm > form.range()) {
    const auto factor = static_cast<float>(form.range() * kBelowRange / *norm);
    for (float& value : values) value *= factor;
  }
  return values;
}

}  // namespace

absl::StatusOr<EncodedUpdate> EncodeUpdate(const MaskedForm& form, const MaskedForm::Maps& maps,
                                           const secagg::Params& params, const ParameterSet& delta,
                                           uint32_t weight, const MaskedFigures& figures,
                                           Entropy& entropy, RoundingSource& rounding,
                                           ParameterSet* residual) {
  EncodedUpdate encoded;
  RV_ASSIGN_OR_RETURN(std::vector<float> flat, Clipped(form, delta, residual, &encoded.norm));
  std::vector<float> reduced(maps.reduced);
  maps.reduce->Project(flat, reduced);
  std::vector<float> rotated(form.values());
  maps.rotate->Project(reduced, rotated);
  if (form.counted()) {
    RV_RETURN_IF_ERROR(EncodeCounted(form, params, rotated, entropy, encoded));
    return encoded;
  }
  if (form.signs()) {
    std::vector<int64_t> signs(form.values());
    DrawSigns(rotated, form.block(), form.lattice().v, rounding, signs);
    WriteVector(form, params, signs, weight, figures, encoded);
    return encoded;
  }
  std::vector<int32_t> integers(form.values());
  const LatticeParams lattice = form.lattice();
  encoded.clamped = QuantiseToLattice(rotated, lattice, rounding, integers);
  std::vector<int64_t> weighted(integers.size());
  for (size_t i = 0; i < integers.size(); ++i) weighted[i] = int64_t{integers[i]} * weight;
  WriteVector(form, params, weighted, weight, figures, encoded);
  if (residual != nullptr) {  // what the others will read of this vector is not owed any more
    DequantiseSum(std::span<const int32_t>(integers), lattice.scale(), 1, rotated);
    maps.rotate->Expand(rotated, reduced);
    std::vector<float> sent(flat.size());
    maps.reduce->Expand(reduced, sent);
    for (size_t i = 0; i < flat.size(); ++i) flat[i] -= sent[i];
    Unflatten(flat, *residual);
  }
  return encoded;
}

absl::StatusOr<DecodedSum> DecodeSum(const MaskedForm& form, const MaskedForm::Maps& maps,
                                     const secagg::Params& params, const secagg::RingVector& sum,
                                     uint32_t clients, const CentralAddition& central) {
  DecodedSum decoded;
  decoded.weight = sum.SignedAt(params.d);
  if (decoded.weight < clients || decoded.weight > int64_t{clients} * params.W) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "masked sum: got a weight of " + std::to_string(decoded.weight) + ", want " +
                      std::to_string(clients) + ".." + std::to_string(int64_t{clients} * params.W));
  }
  std::vector<int64_t> integers(form.values());
  form.SlotsOf(params.n_max).Read(sum, integers);
  if (form.signs()) {  // ones less zeros
    for (int64_t& value : integers) value = 2 * value - decoded.weight;
  }
  double scale = form.lattice().scale();
  int64_t divisor = decoded.weight;
  if (form.noised()) {  // by those invited, whoever came: their number is no second release
    RV_ASSIGN_OR_RETURN(const DistributedNoise noise, form.NoiseOf(params));
    RV_ASSIGN_OR_RETURN(const DistributedPlan plan, noise.Plan());
    RV_RETURN_IF_ERROR(CheckSumRange(integers, params.b));
    scale = plan.scale;
    divisor = params.n_max;
  }
  if (form.central()) {
    if (!central.add || central.divisor < 1) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "masked sum: got no central noise, want what its job promises");
    }
    RV_RETURN_IF_ERROR(central.add(integers));
    divisor = central.divisor;
  }
  std::vector<float> rotated(form.values());
  DequantiseSum(std::span<const int64_t>(integers), scale, divisor, rotated);
  std::vector<float> reduced(maps.reduced);
  maps.rotate->Expand(rotated, reduced);
  std::vector<float> flat(form.numbers());
  maps.reduce->Expand(reduced, flat);
  decoded.mean = ParameterSet(form.manifest());
  Unflatten(flat, decoded.mean);
  decoded.reduced = std::move(reduced);
  if (!form.counted()) decoded.figures = ReadFigures(params, sum);
  if (form.adaptive()) decoded.clip_bits = sum.SignedAt(params.d + 1);
  return decoded;
}

}  // namespace rivulet
