#include <algorithm>
#include <cmath>

#include "aggregation/codec/bits.h"
#include "aggregation/codec/bodies.h"
#include "aggregation/codec/value_coder.h"

namespace rivulet {
namespace {

// Codecs that send some of the numbers. Who chooses which of them differs.
class SparseBody : public CodecBody {
 public:
  SparseBody(double fraction, ValueKind kind, bool feedback)
      : fraction_(fraction), kind_(kind), feedback_(feedback) {}

 protected:
  // Sends values[index] for each index, and takes what was sent out of the residual.
  absl::Status AppendSome(std::span<const float> values, std::span<const uint32_t> indices,
                          RoundingSource* rounding, const EncodeJob& job, std::string& body) const {
    std::vector<float> some(indices.size());
    for (size_t at = 0; at < some.size(); ++at) some[at] = values[indices[at]];
    const size_t start = body.size();
    RV_RETURN_IF_ERROR(AppendValues(kind_, some, rounding, body));
    if (job.residual.empty()) return absl::OkStatus();
    RV_RETURN_IF_ERROR(DecodeValues(kind_, std::string_view(body).substr(start), some));
    for (size_t at = 0; at < some.size(); ++at) job.residual[indices[at]] -= some[at];
    return absl::OkStatus();
  }

  double fraction_;
  ValueKind kind_;
  bool feedback_;  // by the settings
};

// The k largest magnitudes of each client, with their positions.
class TopKBody : public SparseBody {
 public:
  using SparseBody::SparseBody;
  std::string_view name() const override { return "top-k"; }
  uint8_t id() const override { return 7; }
  CodecTraits traits() const override {
    return {.feedback = feedback_,
            .error_bound = "the k-th magnitude, and the rounding of the values that are kept"};
  }
  uint64_t MaxBytes(const Manifest& manifest) const override {
    const size_t d = FlatNumbers(manifest);
    return BytesOfValues(kind_, Kept(d)) + MaxRiceBytes(d, Kept(d));
  }

  absl::Status Encode(const EncodeJob& job, std::string& body) const override {
    const std::span<const float> values = TakeIn(job);
    const std::vector<uint32_t> indices = LargestIndices(values, Kept(values.size()));
    RV_RETURN_IF_ERROR(AppendSome(values, indices, nullptr, job, body));
    AppendRice(indices, RiceParameter(values.size(), indices.size()), body);
    return absl::OkStatus();
  }

  absl::Status Decode(std::string_view body, const DecodeJob&,
                      std::span<float> out) const override {
    const size_t kept = Kept(out.size());
    const uint64_t bytes = BytesOfValues(kind_, kept);
    if (body.size() < bytes) return CheckBytes("top-k: values", body.size(), bytes);
    std::vector<float> some(kept);
    RV_RETURN_IF_ERROR(DecodeValues(kind_, body.substr(0, bytes), some));
    RV_ASSIGN_OR_RETURN(
        const std::vector<uint32_t> indices,
        DecodeRice(body.substr(bytes), RiceParameter(out.size(), kept), out.size(), kept));
    std::fill(out.begin(), out.end(), 0.0f);
    for (size_t at = 0; at < kept; ++at) out[indices[at]] = some[at];
    return absl::OkStatus();
  }

 private:
  size_t Kept(size_t d) const {
    const auto kept = static_cast<size_t>(std::round(fraction_ * static_cast<double>(d)));
    return std::clamp<size_t>(kept, d == 0 ? 0 : 1, d);
  }
};

// The same numbers of every client, chosen by public randomness: no positions on the wire. Without
// a residual unbiased: decoding multiplies by d / k and int8 values are rounded stochastically.
class SeededBody : public SparseBody {
 public:
  SeededBody(bool by_previous, double fraction, ValueKind kind, bool feedback)
      : SparseBody(fraction, kind, feedback), by_previous_(by_previous) {}
  std::string_view name() const override { return by_previous_ ? "public-top-k" : "random-k"; }
  uint8_t id() const override { return by_previous_ ? 9 : 8; }
  CodecTraits traits() const override {
    return {.maskable = true,
            .unbiased = !by_previous_ && !feedback_,
            .stochastic = !by_previous_ && !feedback_ && kind_ == ValueKind::kInt8,
            .feedback = feedback_,
            .error_bound = "the magnitude of what is not sent, and the rounding of what is"};
  }
  uint64_t MaxBytes(const Manifest& manifest) const override {
    return BytesOfValues(kind_, StrataFor(FlatNumbers(manifest), fraction_));
  }

  absl::Status Encode(const EncodeJob& job, std::string& body) const override {
    const bool scaled = Scaled(!job.residual.empty());
    RoundingSource* rounding = nullptr;
    if (scaled && kind_ == ValueKind::kInt8) {
      RV_ASSIGN_OR_RETURN(rounding, RoundingOf(name(), job.context));
    }
    const std::span<const float> values = TakeIn(job);
    const std::vector<uint32_t> indices = Support(values.size(), job.previous, job.context);
    return AppendSome(values, indices, rounding, job, body);
  }

  absl::Status Decode(std::string_view body, const DecodeJob& job,
                      std::span<float> out) const override {
    const size_t d = out.size(), kept = StrataFor(d, fraction_);
    RV_RETURN_IF_ERROR(CheckBytes(name(), body.size(), BytesOfValues(kind_, kept)));
    std::vector<float> some(kept);
    RV_RETURN_IF_ERROR(DecodeValues(kind_, body, some));
    const std::vector<uint32_t> indices = Support(d, job.previous, job.context);
    const bool scaled = Scaled(job.feedback);
    std::fill(out.begin(), out.end(), 0.0f);
    for (size_t at = 0; at < kept; ++at) {
      const float factor = scaled ? static_cast<float>(StratumSize(d, kept, at)) : 1.0f;
      out[indices[at]] = some[at] * factor;
    }
    return absl::OkStatus();
  }

 private:
  bool Scaled(bool with_residual) const { return !by_previous_ && !with_residual; }
  std::vector<uint32_t> Support(size_t d, std::span<const float> previous,
                                const CodecContext& context) const {
    const PhiloxWords words(RandomStream(context.root, Purpose::kPublicSubset, context.round));
    const size_t kept = StrataFor(d, fraction_);
    return by_previous_ ? PublicSupport(previous, d, kept, words)
                        : StratifiedIndices(words, d, kept);
  }

  bool by_previous_;
};

BodyOr NewSeeded(bool by_previous, const CodecSettings& settings) {
  RV_ASSIGN_OR_RETURN(const ValueKind kind, ValueKindOf(settings.values, ValueKind::kInt8));
  return std::make_unique<SeededBody>(by_previous, settings.fraction, kind,
                                      settings.error_feedback);
}

}  // namespace

BodyOr NewTopKBody(const CodecSettings& settings) {
  RV_ASSIGN_OR_RETURN(const ValueKind kind, ValueKindOf(settings.values, ValueKind::kInt8));
  return std::make_unique<TopKBody>(settings.fraction, kind, settings.error_feedback);
}
BodyOr NewRandomKBody(const CodecSettings& settings) { return NewSeeded(false, settings); }
BodyOr NewPublicTopKBody(const CodecSettings& settings) { return NewSeeded(true, settings); }

}  // namespace rivulet
