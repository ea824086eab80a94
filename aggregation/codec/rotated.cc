#include <algorithm>
#include <array>
#include <cmath>

#include "aggregation/codec/bits.h"
#include "aggregation/codec/bodies.h"
#include "aggregation/codec/kernels.h"
#include "aggregation/codec/lattice.h"
#include "aggregation/codec/rotation.h"
#include "common/tensor/large_pages.h"

namespace rivulet {
namespace {

// Codecs that quantise rotated blocks: a scale for each, then codes of `bits` bits. A rotated
// coordinate is nearly Gaussian, whatever the update looks like.
class RotatedBody : public CodecBody {
 public:
  RotatedBody(uint32_t bits, uint32_t block_log2) : bits_(bits), block_log2_(block_log2) {}

  uint64_t MaxBytes(const Manifest& manifest) const override {
    return BytesFor(FlatNumbers(manifest));
  }

  absl::Status Encode(const EncodeJob& job, std::string& body) const override {
    const PhiloxWords signs(RandomStream(job.context.root, Purpose::kRotation, job.context.round));
    const RotatedBlocks blocks = BlocksFor(job.values.size(), signs);
    const size_t size = blocks.block_size();
    uint8_t* scales = Extend(body, BytesFor(job.values.size()));
    uint8_t* packed = scales + ScaleBytes(blocks.count());
    std::vector<float, LargePages<float>> rotated(
        std::min(RotatedBlocks::kTogether, blocks.count()) * size);
    std::vector<uint16_t> codes(size);
    for (size_t first = 0; first < blocks.count(); first += RotatedBlocks::kTogether) {
      const size_t count = std::min(RotatedBlocks::kTogether, blocks.count() - first);
      blocks.Project(job.values, first, count, rotated.data());
      for (size_t block = 0; block < count; ++block) {
        RV_ASSIGN_OR_RETURN(
            const float scale,
            Quantise(std::span(rotated).subspan(block * size, size), job.context, codes));
        if (has_scales()) std::memcpy(scales, &scale, 4), scales += 4;
        PackCodes(codes, bits_, packed);
        packed += PackedBytes(size, bits_);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Decode(std::string_view body, const DecodeJob& job,
                      std::span<float> out) const override {
    RV_RETURN_IF_ERROR(CheckBytes(name(), body.size(), BytesFor(out.size())));
    const PhiloxWords signs(RandomStream(job.context.root, Purpose::kRotation, job.context.round));
    const RotatedBlocks blocks = BlocksFor(out.size(), signs);
    const size_t size = blocks.block_size();
    std::vector<float> scales(blocks.count());
    if (has_scales()) scales = TakeNumbers<float>(body, blocks.count());
    RV_RETURN_IF_ERROR(CheckScales(name(), scales));
    const uint8_t* packed = BytesOf(body);
    std::vector<float, LargePages<float>> rotated(
        std::min(RotatedBlocks::kTogether, blocks.count()) * size);
    std::vector<uint16_t> codes(size);
    for (size_t first = 0; first < blocks.count(); first += RotatedBlocks::kTogether) {
      const size_t count = std::min(RotatedBlocks::kTogether, blocks.count() - first);
      for (size_t block = 0; block < count; ++block) {
        if (!UnpackCodes(packed, bits_, codes) ||
            !Widen(codes, scales[first + block], rotated.data() + block * size)) {
          return Refuse(
              absl::StatusCode::kInvalidArgument,
              std::string(name()) + ": got a code out of range or a filling bit that is set");
        }
        packed += PackedBytes(size, bits_);
      }
      blocks.Expand(rotated.data(), first, count, out);
    }
    return absl::OkStatus();
  }

 protected:
  virtual bool has_scales() const { return true; }
  // Codes of one rotated block; returns its scale.
  virtual absl::StatusOr<float> Quantise(std::span<const float> rotated,
                                         const CodecContext& context,
                                         std::span<uint16_t> codes) const = 0;
  // And back. False when a code is none of the encoder's.
  virtual bool Widen(std::span<const uint16_t> codes, float scale, float* rotated) const = 0;

 private:
  RotatedBlocks BlocksFor(size_t d, const PublicWords& signs) const {
    return RotatedBlocks(d, RotationBlockFor(d, block_log2_), signs);
  }
  size_t ScaleBytes(size_t blocks) const { return has_scales() ? 4 * blocks : 0; }
  uint64_t BytesFor(size_t d) const {
    const size_t size = RotationBlockFor(d, block_log2_);
    const size_t blocks = (d + size - 1) / size;
    return ScaleBytes(blocks) + blocks * PackedBytes(size, bits_);
  }

  uint32_t bits_, block_log2_;
};

// Multiples of a scale, rounded stochastically; codes are q + L, L = 2^(bits - 1) - 1.
class RotateLatticeBody : public RotatedBody {
 public:
  RotateLatticeBody(uint32_t bits, uint32_t block_log2, double bound)
      : RotatedBody(bits, block_log2),
        limit_((1 << (bits - 1)) - 1),
        scale_(static_cast<float>(bound / limit_)) {}
  std::string_view name() const override { return "rotate-lattice"; }
  uint8_t id() const override { return 10; }
  CodecTraits traits() const override {
    return {.maskable = true,
            .unbiased = true,
            .stochastic = true,
            .error_bound = "sqrt(numbers) scale in L2, unless a coordinate is beyond the bound"};
  }

 protected:
  bool has_scales() const override { return scale_ == 0; }

  absl::StatusOr<float> Quantise(std::span<const float> rotated, const CodecContext& context,
                                 std::span<uint16_t> codes) const override {
    RV_ASSIGN_OR_RETURN(RoundingSource* const rounding, RoundingOf(name(), context));
    float scale = scale_;
    if (has_scales()) {
      const float absmax = codec_kernels::LargestMagnitude(rotated.data(), rotated.size());
      scale = absmax < 0x1p-96f ? 0.0f : absmax / static_cast<float>(limit_);
    }
    if (scale == 0) {
      std::fill(codes.begin(), codes.end(), static_cast<uint16_t>(limit_));
      return scale;
    }
    for (size_t first = 0; first < rotated.size(); first += kPart) {
      const size_t count = std::min(kPart, rotated.size() - first);
      limit_ <= kLimitOfBytes
          ? RoundShort(rotated.subspan(first, count), scale, *rounding, &codes[first])
          : RoundLong(rotated.subspan(first, count), scale, *rounding, &codes[first]);
    }
    return scale;
  }

  bool Widen(std::span<const uint16_t> codes, float scale, float* rotated) const override {
    if (!has_scales()) scale = scale_;
    uint16_t largest = 0;
    for (size_t at = 0; at < codes.size(); ++at) {
      largest = std::max(largest, codes[at]);
      rotated[at] = static_cast<float>(codes[at] - limit_) * scale;
    }
    return largest <= 2 * limit_;
  }

 private:
  static constexpr size_t kPart = 4096;
  static constexpr int32_t kLimitOfBytes = 127;

  // Up to 8 bits: 16 random bits for each number are enough.
  void RoundShort(std::span<const float> values, float scale, RoundingSource& rounding,
                  uint16_t* codes) const {
    uint32_t words[kPart / 2];
    int8_t integers[kPart];
    rounding.Fill(std::span(words).first((values.size() + 1) / 2));
    const auto top = static_cast<float>(limit_);
    codec_kernels::RoundOne({kPart, top, 1, 0, -limit_, limit_}, values.data(), values.size(),
                            scale * top, reinterpret_cast<const uint16_t*>(words), integers);
    for (size_t at = 0; at < values.size(); ++at) {
      codes[at] = static_cast<uint16_t>(integers[at] + limit_);
    }
  }
  void RoundLong(std::span<const float> values, float scale, RoundingSource& rounding,
                 uint16_t* codes) const {
    uint32_t words[kPart];
    int32_t integers[kPart];
    rounding.Fill(std::span(words).first(values.size()));
    codec_kernels::RoundToIntegers(values.data(), values.size(), 1.0 / static_cast<double>(scale),
                                   limit_, words, integers);
    for (size_t at = 0; at < values.size(); ++at) {
      codes[at] = static_cast<uint16_t>(integers[at] + limit_);
    }
  }

  int32_t limit_;
  float scale_;  // of the public bound; 0: each block has its own
};

// The scale that makes <x, decoded> = ||x||^2 for what decodes to scale * y.
float UnbiasedScale(double squares, double product) {
  const double scale = product > 0 ? squares / product : 0;
  return scale <= kLargestScale ? static_cast<float>(scale) : 0.0f;
}

// Signs of the rotated block, S = ||x||^2 / ||y||_1. Vargaftik et al. 2021 (arXiv 2105.08339).
class DriveBody : public RotatedBody {
 public:
  explicit DriveBody(uint32_t block_log2) : RotatedBody(1, block_log2) {}
  std::string_view name() const override { return "drive"; }
  uint8_t id() const override { return 11; }
  CodecTraits traits() const override {
    return {.error_bound = "0.571 ||x||^2 squared, for Gaussian rotated coordinates"};
  }

 protected:
  absl::StatusOr<float> Quantise(std::span<const float> rotated, const CodecContext&,
                                 std::span<uint16_t> codes) const override {
    for (size_t at = 0; at < codes.size(); ++at) codes[at] = rotated[at] < 0 ? 1 : 0;
    return UnbiasedScale(codec_kernels::SumOfSquares(rotated.data(), rotated.size()),
                         codec_kernels::SumOfMagnitudes(rotated.data(), rotated.size()));
  }
  bool Widen(std::span<const uint16_t> codes, float scale, float* rotated) const override {
    for (size_t at = 0; at < codes.size(); ++at) rotated[at] = codes[at] == 0 ? scale : -scale;
    return true;
  }
};

// Centroids of the best quantisers of N(0, 1), positive side (Lloyd 1982, Max 1960).
constexpr float kCentroids[4][8] = {
    {.79788456f},
    {.45278003f, 1.5104176f},
    {.24509418f, .75600528f, 1.3439093f, 2.1519457f},
    {.12839503f, .3880483f, .65675912f, .94234046f, 1.2562312f, 1.6180464f, 2.0690172f, 2.7325896f},
};

// The nearest centroid after scaling to unit variance, S = ||x||^2 / <y, Q(y)>; the code is the
// centroid's number, and a bit more for a minus. Vargaftik et al. 2022 (arXiv 2108.08842).
class EdenBody : public RotatedBody {
 public:
  EdenBody(uint32_t bits, uint32_t block_log2)
      : RotatedBody(bits, block_log2), levels_(1u << (bits - 1)) {
    for (uint32_t code = 0; code < levels_; ++code) {
      centroids_[code] = kCentroids[bits - 1][code];
      centroids_[code + levels_] = -centroids_[code];
    }
  }
  std::string_view name() const override { return "eden"; }
  uint8_t id() const override { return 12; }
  CodecTraits traits() const override {
    return {.error_bound =
                "0.571, 0.133, 0.0358, 0.0096 ||x||^2 squared for 1 to 4 bits, for "
                "Gaussian rotated coordinates"};
  }

 protected:
  absl::StatusOr<float> Quantise(std::span<const float> rotated, const CodecContext&,
                                 std::span<uint16_t> codes) const override {
    const double squares = codec_kernels::SumOfSquares(rotated.data(), rotated.size());
    const auto deviation =
        static_cast<float>(std::sqrt(squares / static_cast<double>(rotated.size())));
    codec_kernels::CentroidGrid grid{levels_, {}, {}};
    std::copy_n(centroids_.begin(), levels_, grid.centroids);
    for (uint32_t code = 0; code + 1 < levels_; ++code) {
      grid.borders[code] = (centroids_[code] + centroids_[code + 1]) / 2 * deviation;
    }
    const double product =
        codec_kernels::NearestCentroids(grid, rotated.data(), rotated.size(), codes.data());
    return UnbiasedScale(squares, product);
  }

  bool Widen(std::span<const uint16_t> codes, float scale, float* rotated) const override {
    for (size_t at = 0; at < codes.size(); ++at) rotated[at] = centroids_[codes[at]] * scale;
    return true;
  }

 private:
  uint32_t levels_;
  std::array<float, 16> centroids_{};
};

absl::StatusOr<uint32_t> BitsOr(uint32_t bits, uint32_t absent, uint32_t least, uint32_t most) {
  if (bits == 0) return absent;
  if (bits >= least && bits <= most) return bits;
  return Refuse(absl::StatusCode::kInvalidArgument,
                "compression.bits: got " + std::to_string(bits) + ", want " +
                    std::to_string(least) + ".." + std::to_string(most));
}

absl::StatusOr<uint32_t> BlockLog2Or(uint32_t block_log2) {
  if (block_log2 == 0) return 16;
  if (block_log2 >= 3 && block_log2 <= 20) return block_log2;
  return Refuse(absl::StatusCode::kInvalidArgument,
                "compression.block-log2: got " + std::to_string(block_log2) + ", want 3..20");
}

}  // namespace

BodyOr NewRotateLatticeBody(const CodecSettings& settings) {
  RV_ASSIGN_OR_RETURN(const uint32_t bits, BitsOr(settings.bits, 8, 2, 16));
  RV_ASSIGN_OR_RETURN(const uint32_t block_log2, BlockLog2Or(settings.block_log2));
  const double bound = settings.bound;
  if (bound != 0 && !(bound >= 0x1p-64 && bound <= static_cast<double>(kLargestCoded))) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "compression.bound: got " + std::to_string(bound) + ", want 0 or 2^-64..2^40");
  }
  return std::make_unique<RotateLatticeBody>(bits, block_log2, bound);
}
BodyOr NewDriveBody(const CodecSettings& settings) {
  RV_ASSIGN_OR_RETURN(const uint32_t block_log2, BlockLog2Or(settings.block_log2));
  return std::make_unique<DriveBody>(block_log2);
}
BodyOr NewEdenBody(const CodecSettings& settings) {
  RV_ASSIGN_OR_RETURN(const uint32_t bits, BitsOr(settings.bits, 2, 1, 4));
  RV_ASSIGN_OR_RETURN(const uint32_t block_log2, BlockLog2Or(settings.block_log2));
  return std::make_unique<EdenBody>(bits, block_log2);
}

}  // namespace rivulet
