#include <algorithm>

#include "aggregation/codec/bits.h"
#include "aggregation/codec/bodies.h"
#include "aggregation/codec/kernels.h"

namespace rivulet {
namespace {

constexpr size_t kIntegerChunk = 16384;  // numbers; whole blocks, whole bytes, within the L2 cache

struct IntegerKind {
  std::string_view name;
  uint8_t id;
  uint32_t bits;
  codec_kernels::RoundingGrid grid;  // its block is the default
  std::string_view error_bound;
};
constexpr IntegerKind kIntegers[] = {
    {"int8", 3, 8, {256, 127, 1, 0, -127, 127}, "below absmax(block) / 127, 2^-96 added"},
    {"int4", 4, 4, {64, 7, 1, 8, 1, 15}, "below absmax(block) / 7, 2^-96 added"},
    {"int2", 5, 2, {64, 1, 1.5f, 1.5f, 0, 3}, "below 2 absmax(block) / 3, 2^-96 added"},
};

// A scale for each block of the flat vector, then codes of 8, 4 or 2 bits, rounded stochastically:
// int8 and int4 to multiples of absmax / 127 or / 7, int2 to -1, -1/3, 1/3, 1 times absmax.
class IntegerBody : public CodecBody {
 public:
  IntegerBody(const IntegerKind& kind, uint32_t block) : kind_(kind), grid_(kind.grid) {
    if (block != 0) grid_.block = block;
  }
  std::string_view name() const override { return kind_.name; }
  uint8_t id() const override { return kind_.id; }
  CodecTraits traits() const override {
    return {
        .maskable = false, .unbiased = true, .stochastic = true, .error_bound = kind_.error_bound};
  }
  uint64_t MaxBytes(const Manifest& manifest) const override {
    return BytesFor(FlatNumbers(manifest));
  }

  absl::Status Encode(const EncodeJob& job, std::string& body) const override {
    RV_ASSIGN_OR_RETURN(RoundingSource* const rounding, RoundingOf(name(), job.context));
    const std::span<const float> values = job.values;
    uint8_t* const start = Extend(body, BytesFor(values.size()));
    uint8_t* packed = start + 4 * Blocks(values.size());
    std::vector<uint32_t> words(kIntegerChunk / 2);
    std::vector<float> scales(Blocks(kIntegerChunk));
    std::vector<int8_t> codes(kind_.bits == 8 ? 0 : kIntegerChunk);
    for (size_t first = 0; first < values.size(); first += kIntegerChunk) {
      const size_t count = std::min(kIntegerChunk, values.size() - first);
      rounding->Fill(std::span(words).first((count + 1) / 2));
      const auto* random = reinterpret_cast<const uint16_t*>(words.data());
      auto* const to = kind_.bits == 8 ? reinterpret_cast<int8_t*>(packed) : codes.data();
      codec_kernels::RoundInBlocks(grid_, values.data() + first, count, random, scales.data(), to);
      if (kind_.bits != 8) codec_kernels::FoldCodes(to, count, kind_.bits, packed);
      std::memcpy(start + 4 * (first / grid_.block), scales.data(), 4 * Blocks(count));
      packed += PackedBytes(count, kind_.bits);
    }
    return absl::OkStatus();
  }

  absl::Status Decode(std::string_view body, const DecodeJob&,
                      std::span<float> out) const override {
    RV_RETURN_IF_ERROR(CheckBytes(name(), body.size(), BytesFor(out.size())));
    const std::vector<float> scales = TakeNumbers<float>(body, Blocks(out.size()));
    RV_RETURN_IF_ERROR(CheckScales(name(), scales));
    std::vector<int8_t> unfolded(kind_.bits == 8 ? 0 : kIntegerChunk);
    const uint8_t* packed = BytesOf(body);
    for (size_t first = 0; first < out.size(); first += kIntegerChunk) {
      const size_t count = std::min(kIntegerChunk, out.size() - first);
      const auto* codes = reinterpret_cast<const int8_t*>(packed);
      if (kind_.bits != 8) {
        codec_kernels::UnfoldCodes(packed, count, kind_.bits, unfolded.data());
        codes = unfolded.data();
      }
      RV_RETURN_IF_ERROR(CheckCodes(codes, count));
      codec_kernels::ScaleInBlocks(grid_, codes, count, scales.data() + first / grid_.block,
                                   out.data() + first);
      packed += PackedBytes(count, kind_.bits);
    }
    return absl::OkStatus();
  }

 private:
  size_t Blocks(size_t d) const { return (d + grid_.block - 1) / grid_.block; }
  uint64_t BytesFor(size_t d) const { return 4 * Blocks(d) + PackedBytes(d, kind_.bits); }

  // Codes that the encoder makes, and zeros up to the end of the last byte.
  absl::Status CheckCodes(const int8_t* codes, size_t count) const {
    const size_t filled = PackedBytes(count, kind_.bits) * 8 / kind_.bits;
    if (codec_kernels::CodesWithin(codes, count, grid_.low, grid_.high) &&
        std::all_of(codes + count, codes + filled, [](int8_t code) { return code == 0; })) {
      return absl::OkStatus();
    }
    return Refuse(absl::StatusCode::kInvalidArgument,
                  std::string(name()) + ": got a code out of range or a filling bit that is set");
  }

  const IntegerKind& kind_;
  codec_kernels::RoundingGrid grid_;
};

BodyOr NewInteger(const IntegerKind& kind, uint32_t block) {
  if (block != 0 && (!std::has_single_bit(block) || block < 8 || block > kIntegerChunk)) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "compression.block: got " + std::to_string(block) + ", want a power of two, 8..16384");
  }
  return std::make_unique<IntegerBody>(kind, block);
}

}  // namespace

BodyOr NewInt8Body(const CodecSettings& settings) {
  return NewInteger(kIntegers[0], settings.block);
}
BodyOr NewInt4Body(const CodecSettings& settings) {
  return NewInteger(kIntegers[1], settings.block);
}
BodyOr NewInt2Body(const CodecSettings& settings) {
  return NewInteger(kIntegers[2], settings.block);
}

}  // namespace rivulet
