#include <algorithm>

#include "aggregation/codec/bits.h"
#include "aggregation/codec/bodies.h"
#include "aggregation/codec/kernels.h"
#include "common/formats/float_cast.h"

namespace rivulet {
namespace {

constexpr uint32_t kSignBlock = 4096;

// s = mean magnitude of each block, as bf16: its eight significant bits let the residual stay
// exact; then a sign for each number, zero being positive. Karimireddy et al. 2019 (arXiv
// 1901.09847).
class SignBody : public CodecBody {
 public:
  explicit SignBody(uint32_t block) : block_(block) {}
  std::string_view name() const override { return "sign"; }
  uint8_t id() const override { return 6; }
  CodecTraits traits() const override {
    return {.feedback = true, .error_bound = "|x - s sign(x)|; the residual keeps it"};
  }
  uint64_t MaxBytes(const Manifest& manifest) const override {
    return BytesFor(FlatNumbers(manifest));
  }

  absl::Status Encode(const EncodeJob& job, std::string& body) const override {
    const size_t d = job.values.size();
    uint8_t* scales = Extend(body, BytesFor(d));
    uint8_t* signs = scales + 2 * Blocks(d);
    std::vector<float> decoded(block_);
    for (size_t first = 0; first < d; first += block_) {
      const size_t count = std::min<size_t>(block_, d - first);
      const float* values = job.values.data() + first;
      float* const residual = job.residual.empty() ? nullptr : job.residual.data() + first;
      if (residual != nullptr) {
        codec_kernels::Add(residual, values, count);
        values = residual;
      }
      const double mean =
          codec_kernels::SumOfMagnitudes(values, count) / static_cast<double>(count);
      const uint16_t scale = BF16OfFloat(static_cast<float>(mean));
      std::memcpy(scales, &scale, 2);
      codec_kernels::PackSigns(values, count, signs);
      if (residual != nullptr) {
        codec_kernels::UnpackSigns(signs, count, FloatOfBF16(scale), decoded.data());
        codec_kernels::Subtract(residual, decoded.data(), count);
      }
      scales += 2;
      signs += PackedBytes(count, 1);
    }
    return absl::OkStatus();
  }

  absl::Status Decode(std::string_view body, const DecodeJob&,
                      std::span<float> out) const override {
    RV_RETURN_IF_ERROR(CheckBytes(name(), body.size(), BytesFor(out.size())));
    std::vector<float> scales;
    for (const uint16_t bits : TakeNumbers<uint16_t>(body, Blocks(out.size()))) {
      scales.push_back(FloatOfBF16(bits & 0x7FFF));
      if ((bits & 0x8000) != 0) scales.back() = -1;
    }
    RV_RETURN_IF_ERROR(CheckScales(name(), scales));
    if (out.size() % 8 != 0 && static_cast<uint8_t>(body.back()) >> (out.size() % 8) != 0) {
      return Refuse(absl::StatusCode::kInvalidArgument, "sign: a filling bit is set");
    }
    for (size_t block = 0; block < scales.size(); ++block) {
      const size_t first = block * block_;
      const size_t count = std::min<size_t>(block_, out.size() - first);
      codec_kernels::UnpackSigns(BytesOf(body) + first / 8, count, scales[block],
                                 out.data() + first);
    }
    return absl::OkStatus();
  }

 private:
  size_t Blocks(size_t d) const { return (d + block_ - 1) / block_; }
  uint64_t BytesFor(size_t d) const { return 2 * Blocks(d) + PackedBytes(d, 1); }

  uint32_t block_;
};

}  // namespace

BodyOr NewSignBody(const CodecSettings& settings) {
  const uint32_t block = settings.block == 0 ? kSignBlock : settings.block;
  if (block % 8 != 0 || block > 1u << 24) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "compression.block: got " + std::to_string(block) + ", want a multiple of 8 up to 2^24");
  }
  return std::make_unique<SignBody>(block);
}

}  // namespace rivulet
