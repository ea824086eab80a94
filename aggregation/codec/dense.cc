#include <algorithm>
#include <cmath>

#include "aggregation/codec/bodies.h"
#include "aggregation/codec/kernels.h"

namespace rivulet {
namespace {

// Binary32 as it is.
class NoneBody : public CodecBody {
 public:
  std::string_view name() const override { return "none"; }
  uint8_t id() const override { return 0; }
  CodecTraits traits() const override {
    return {.maskable = false, .unbiased = true, .error_bound = "none: exact"};
  }
  uint64_t MaxBytes(const Manifest& manifest) const override { return 4 * FlatNumbers(manifest); }

  absl::Status Encode(const EncodeJob& job, std::string& body) const override {
    AppendNumbers(job.values, body);
    return absl::OkStatus();
  }

  absl::Status Decode(std::string_view body, const DecodeJob&,
                      std::span<float> out) const override {
    RV_RETURN_IF_ERROR(CheckBytes("none", body.size(), out.size_bytes()));
    if (!out.empty()) std::memcpy(out.data(), body.data(), body.size());
    if (std::isfinite(codec_kernels::LargestMagnitude(out.data(), out.size()))) {
      return absl::OkStatus();
    }
    const auto bad =
        std::find_if_not(out.begin(), out.end(), [](float value) { return std::isfinite(value); });
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "none: value " + std::to_string(bad - out.begin()) + ": got " +
                      std::to_string(*bad) + ", want a finite number");
  }
};

// 16 bits a number, round to nearest even.
class HalfBody : public CodecBody {
 public:
  explicit HalfBody(bool brain) : brain_(brain) {}
  std::string_view name() const override { return brain_ ? "bf16" : "fp16"; }
  uint8_t id() const override { return brain_ ? 1 : 2; }
  CodecTraits traits() const override {
    return {.error_bound = brain_ ? "2^-8 of the value" : "2^-11 of the value, or 2^-25"};
  }
  uint64_t MaxBytes(const Manifest& manifest) const override { return 2 * FlatNumbers(manifest); }

  absl::Status Encode(const EncodeJob& job, std::string& body) const override {
    const std::span<const float> values = job.values;
    const float largest = codec_kernels::LargestMagnitude(values.data(), values.size());
    if (!brain_ && largest > 65504) {
      return Refuse(
          absl::StatusCode::kOutOfRange,
          "fp16: got a number of magnitude " + std::to_string(largest) + ", want at most 65504");
    }
    auto* const to = reinterpret_cast<uint16_t*>(Extend(body, 2 * values.size()));
    brain_ ? codec_kernels::ToBF16(values.data(), values.size(), to)
           : codec_kernels::ToF16(values.data(), values.size(), to);
    return absl::OkStatus();
  }

  absl::Status Decode(std::string_view body, const DecodeJob&,
                      std::span<float> out) const override {
    RV_RETURN_IF_ERROR(CheckBytes(name(), body.size(), 2 * out.size()));
    const auto* const from = reinterpret_cast<const uint16_t*>(body.data());
    const bool finite = brain_ ? codec_kernels::FromBF16(from, out.size(), out.data())
                               : codec_kernels::FromF16(from, out.size(), out.data());
    if (finite) return absl::OkStatus();
    return Refuse(absl::StatusCode::kInvalidArgument,
                  std::string(name()) + ": got a value that is not finite");
  }

 private:
  bool brain_;
};

}  // namespace

BodyOr NewNoneBody(const CodecSettings&) { return std::make_unique<NoneBody>(); }
BodyOr NewBF16Body(const CodecSettings&) { return std::make_unique<HalfBody>(true); }
BodyOr NewFP16Body(const CodecSettings&) { return std::make_unique<HalfBody>(false); }

}  // namespace rivulet
