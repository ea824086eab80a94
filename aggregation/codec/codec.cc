#include "aggregation/codec/codec.h"

#include <algorithm>
#include <cmath>

#include "aggregation/codec/bodies.h"
#include "aggregation/codec/kernels.h"
#include "aggregation/codec/lossless.h"
#include "common/io/sha256.h"

namespace rivulet {
namespace {

// docs/formats/codecs.md
constexpr std::string_view kCodecMagic = "RVCD";
constexpr uint8_t kCodecVersion = 1;
constexpr uint8_t kZstd = 1, kFeedback = 2;  // flags
struct CodecHeader {
  char magic[4];
  uint8_t version, codec, flags, zero;
  uint64_t numbers;     // of the update
  uint64_t body_bytes;  // before zstd
  uint64_t manifest;    // ManifestTag
};
static_assert(sizeof(CodecHeader) == 32);

// First eight bytes of SHA-256 over names, dtypes and shapes: finds the upload that belongs to
// another job, not made against somebody who looks for a collision.
uint64_t ManifestTag(const Manifest& manifest) {
  std::string text;
  for (const TensorSpec& spec : manifest) text += Describe(spec) + '\n';
  const Sha256Digest digest = Sha256Of(text);
  uint64_t tag = 0;
  for (int byte = 0; byte < 8; ++byte) tag |= uint64_t{digest[byte]} << (8 * byte);
  return tag;
}

absl::Status BadHeader(std::string_view field, uint64_t got, uint64_t want) {
  return Refuse(absl::StatusCode::kInvalidArgument, "payload: " + std::string(field) + ": got " +
                                                        std::to_string(got) + ", want " +
                                                        std::to_string(want));
}

absl::Status CheckCodecManifest(const Manifest& manifest) {
  RV_RETURN_IF_ERROR(CheckF32(manifest));
  const size_t numbers = FlatNumbers(manifest);
  if (numbers < uint64_t{1} << 32) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "update: got " + std::to_string(numbers) + " numbers, want fewer than 2^32");
}

// Finite, and none too large.
absl::Status CheckNumbers(const ParameterSet& set, std::span<const float> flat) {
  const float largest = codec_kernels::LargestMagnitude(flat.data(), flat.size());
  if (largest <= kLargestCoded) return absl::OkStatus();
  RV_RETURN_IF_ERROR(CheckFinite(set));
  return Refuse(absl::StatusCode::kOutOfRange, "update: got a number of magnitude " +
                                                   std::to_string(largest) + ", want at most 2^40");
}

// A ParameterSet as one flat span that can be written; Close() puts a copy back.
class FlatResidual {
 public:
  explicit FlatResidual(ParameterSet* set) : set_(set) {
    if (set == nullptr) return;
    const std::span<const float> flat = Flatten(*set, storage_);
    flat_ = {const_cast<float*>(flat.data()), flat.size()};  // `set` is not const
  }
  std::span<float> span() const { return flat_; }
  void Close() {
    if (set_ != nullptr && !storage_.empty()) Unflatten(flat_, *set_);
  }
  void ClipTo(double bound) {
    const double norm = std::sqrt(codec_kernels::SumOfSquares(flat_.data(), flat_.size()));
    if (bound == 0 || norm <= bound) return;
    for (float& value : flat_) value = static_cast<float>(double{value} * (bound / norm));
  }

 private:
  ParameterSet* set_;
  std::vector<float> storage_;
  std::span<float> flat_;
};

// Header, checks and the lossless step around a body.
class FramedCodec : public Codec {
 public:
  FramedCodec(std::unique_ptr<CodecBody> body, bool zstd) : body_(std::move(body)), zstd_(zstd) {}

  std::string_view name() const override { return body_->name(); }
  CodecTraits traits() const override { return body_->traits(); }
  uint64_t MaxEncodedBytes(const Manifest& manifest) const override {
    return sizeof(CodecHeader) + body_->MaxBytes(manifest);
  }

  absl::StatusOr<std::string> Encode(const ParameterSet& delta,
                                     const CodecContext& context) const override {
    std::string payload;
    RV_RETURN_IF_ERROR(EncodeTo(delta, context, payload));
    return payload;
  }

  absl::Status EncodeTo(const ParameterSet& delta, const CodecContext& context,
                        std::string& payload) const override {
    RV_RETURN_IF_ERROR(CheckCodecManifest(delta.manifest()));
    std::vector<float> storage, previous_storage;
    const std::span<const float> values = Flatten(delta, storage);
    RV_RETURN_IF_ERROR(CheckNumbers(delta, values));
    RV_ASSIGN_OR_RETURN(const std::span<const float> previous,
                        PreviousOf(context, delta.manifest(), previous_storage));
    ParameterSet* const residual = traits().feedback ? context.residual : nullptr;
    RV_RETURN_IF_ERROR(CheckResidual(residual, context, delta.manifest()));
    FlatResidual flat(residual);
    if (residual != nullptr) {
      RV_RETURN_IF_ERROR(CheckNumbers(*residual, flat.span()));
      flat.ClipTo(context.residual_clip);
    }
    payload.clear();
    payload.reserve(MaxEncodedBytes(delta.manifest()));
    payload.resize(sizeof(CodecHeader));
    const absl::Status encoded =
        body_->Encode({delta.manifest(), values, flat.span(), previous, context}, payload);
    flat.Close();
    RV_RETURN_IF_ERROR(encoded);
    Finish(delta.manifest(), values.size(), residual != nullptr, payload);
    return absl::OkStatus();
  }

  absl::Status Decode(std::string_view payload, const CodecContext& context,
                      ParameterSet& out) const override {
    RV_RETURN_IF_ERROR(CheckCodecManifest(out.manifest()));
    RV_ASSIGN_OR_RETURN(const CodecHeader header, HeaderOf(payload, out.manifest()));
    std::string_view body = payload.substr(sizeof(CodecHeader));
    std::string decompressed;
    if ((header.flags & kZstd) != 0) {
      if (body.size() >= header.body_bytes) {  // what does not get smaller travels as it is
        return BadHeader("body bytes", header.body_bytes, body.size() + 1);
      }
      RV_ASSIGN_OR_RETURN(decompressed, Decompress(body, header.body_bytes));
      body = decompressed;
    }
    RV_RETURN_IF_ERROR(CheckBytes("payload: body", body.size(), header.body_bytes));
    std::vector<float> previous_storage;
    RV_ASSIGN_OR_RETURN(const std::span<const float> previous,
                        PreviousOf(context, out.manifest(), previous_storage));
    FlatResidual flat(&out);
    const bool feedback = (header.flags & kFeedback) != 0;
    RV_RETURN_IF_ERROR(
        body_->Decode(body, {out.manifest(), feedback, previous, context}, flat.span()));
    flat.Close();
    return absl::OkStatus();
  }

 private:
  static absl::StatusOr<std::span<const float>> PreviousOf(const CodecContext& context,
                                                           const Manifest& manifest,
                                                           std::vector<float>& storage) {
    if (context.previous == nullptr) return std::span<const float>();
    const absl::Status same = SameManifest(context.previous->manifest(), manifest);
    if (!same.ok()) return Annotate(same, "previous aggregate");
    const std::span<const float> flat = Flatten(*context.previous, storage);
    RV_RETURN_IF_ERROR(Annotate(CheckNumbers(*context.previous, flat), "previous aggregate"));
    return flat;
  }

  static absl::Status CheckResidual(const ParameterSet* residual, const CodecContext& context,
                                    const Manifest& manifest) {
    if (residual == nullptr) return absl::OkStatus();
    if (!(context.residual_clip >= 0) || std::isinf(context.residual_clip)) {
      return Refuse(absl::StatusCode::kInvalidArgument, "residual clip: got " +
                                                            std::to_string(context.residual_clip) +
                                                            ", want a finite number, 0 or above");
    }
    return Annotate(SameManifest(residual->manifest(), manifest), "residual");
  }

  // Fills the header in and compresses when that makes it smaller.
  void Finish(const Manifest& manifest, size_t numbers, bool feedback, std::string& payload) const {
    CodecHeader header{};
    std::memcpy(header.magic, kCodecMagic.data(), kCodecMagic.size());
    header.version = kCodecVersion;
    header.codec = body_->id();
    header.flags = feedback ? kFeedback : 0;
    header.numbers = numbers;
    header.body_bytes = payload.size() - sizeof(CodecHeader);
    header.manifest = ManifestTag(manifest);
    if (zstd_) {
      const std::string frame = Compress(std::string_view(payload).substr(sizeof(CodecHeader)));
      if (frame.size() < header.body_bytes) {
        payload.replace(sizeof(CodecHeader), std::string::npos, frame);
        header.flags |= kZstd;
      }
    }
    std::memcpy(payload.data(), &header, sizeof(header));
  }

  absl::StatusOr<CodecHeader> HeaderOf(std::string_view payload, const Manifest& manifest) const {
    CodecHeader header;
    if (payload.size() < sizeof(header)) {
      return BadHeader("bytes", payload.size(), sizeof(header));
    }
    std::memcpy(&header, payload.data(), sizeof(header));
    if (std::string_view(header.magic, 4) != kCodecMagic) {
      return Refuse(absl::StatusCode::kInvalidArgument, "payload: magic: want RVCD");
    }
    if (header.version != kCodecVersion) {
      return BadHeader("version", header.version, kCodecVersion);
    }
    if (header.codec != body_->id()) return BadHeader("codec", header.codec, body_->id());
    const int known = (zstd_ ? kZstd : 0) | (traits().feedback ? kFeedback : 0);
    if ((header.flags & ~known) != 0) return BadHeader("flags", header.flags, known);
    if (header.zero != 0) return BadHeader("reserved byte", header.zero, 0);
    const size_t numbers = FlatNumbers(manifest);
    if (header.numbers != numbers) return BadHeader("numbers", header.numbers, numbers);
    const uint64_t tag = ManifestTag(manifest);
    if (header.manifest != tag) return BadHeader("manifest", header.manifest, tag);
    const uint64_t most = body_->MaxBytes(manifest);
    if (header.body_bytes > most) return BadHeader("body bytes", header.body_bytes, most);
    return header;
  }

  std::unique_ptr<CodecBody> body_;
  bool zstd_;
};

struct CodecEntry {
  std::string_view name;
  BodyOr (*make)(const CodecSettings&);
};

// To add one: a class in a .cc, a line in bodies.h, a line here, a section in
// docs/formats/codecs.md.
constexpr CodecEntry kCodecs[] = {
    {"none", NewNoneBody},
    {"bf16", NewBF16Body},
    {"fp16", NewFP16Body},
    {"int8", NewInt8Body},
    {"int4", NewInt4Body},
    {"int2", NewInt2Body},
    {"sign", NewSignBody},
    {"top-k", NewTopKBody},
    {"random-k", NewRandomKBody},
    {"public-top-k", NewPublicTopKBody},
    {"rotate-lattice", NewRotateLatticeBody},
    {"drive", NewDriveBody},
    {"eden", NewEdenBody},
    {"low-rank", NewLowRankBody},
    {"count-sketch", NewCountSketchBody},
    {"fed-obd", NewFedObdBody},
};

}  // namespace

absl::Status Codec::EncodeTo(const ParameterSet& delta, const CodecContext& context,
                             std::string& payload) const {
  RV_ASSIGN_OR_RETURN(payload, Encode(delta, context));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Codec>> MakeCodec(const CodecSettings& settings) {
  if (!(settings.fraction > 0 && settings.fraction <= 1)) {
    return Refuse(absl::StatusCode::kInvalidArgument, "compression.fraction: got " +
                                                          std::to_string(settings.fraction) +
                                                          ", want above 0, at most 1");
  }
  for (const CodecEntry& entry : kCodecs) {
    if (entry.name != settings.name) continue;
    RV_ASSIGN_OR_RETURN(std::unique_ptr<CodecBody> body, entry.make(settings));
    return std::make_unique<FramedCodec>(std::move(body), settings.zstd);
  }
  std::string message = "compression.codec: got '" + settings.name + "', want one of:";
  for (std::string_view name : CodecNames()) message.append(" ").append(name);
  return Refuse(absl::StatusCode::kNotFound, message);
}

std::vector<std::string_view> CodecNames() {
  std::vector<std::string_view> names;
  for (const CodecEntry& entry : kCodecs) names.push_back(entry.name);
  return names;
}

}  // namespace rivulet
