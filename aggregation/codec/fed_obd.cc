#include <algorithm>
#include <cmath>
#include <numeric>

#include "aggregation/codec/bits.h"
#include "aggregation/codec/bodies.h"
#include "aggregation/codec/kernels.h"
#include "common/formats/float_cast.h"

namespace rivulet {
namespace {

constexpr uint32_t kLeastBits = 2, kMostBits = 12;
constexpr size_t kBlockHeader = 3;  // u8 bits, bf16 scale
constexpr size_t kObdChunk = 4096;

// Where each named tensor lies in the flat vector.
struct NamedBlock {
  size_t offset, size;
};

absl::StatusOr<std::vector<NamedBlock>> NamedBlocks(const Manifest& manifest,
                                                    std::span<const uint32_t> named) {
  std::vector<NamedBlock> blocks;
  size_t offset = 0;
  uint32_t position = 0;
  for (size_t at = 0; at < named.size(); ++at) {
    if (named[at] >= manifest.size() || (at > 0 && named[at] <= named[at - 1])) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "fed-obd: block " + std::to_string(at) + ": got tensor " +
                        std::to_string(named[at]) + ", want ascending positions below " +
                        std::to_string(manifest.size()));
    }
    for (; position < named[at]; ++position) {
      offset += static_cast<size_t>(manifest[position].elements());
    }
    blocks.push_back({offset, static_cast<size_t>(manifest[position].elements())});
  }
  return blocks;
}

// Codes q + L for q = nearest(x / scale), L = 2^(bits - 1) - 1.
struct ObdGrid {
  uint32_t bits;
  float scale;
  int32_t limit() const { return (1 << (bits - 1)) - 1; }
};

// The scale in bf16, rounded up: eight significant bits, so that decoded numbers are exact.
uint16_t ObdScale(float absmax, uint32_t bits) {
  const float exact = absmax / static_cast<float>((1 << (bits - 1)) - 1);
  return static_cast<uint16_t>((std::bit_cast<uint32_t>(exact) + 0xFFFF) >> 16);
}

// The number of bits that costs least: relative squared error of uniform rounding, s^2 / 12 for
// each number, plus `weight` for each bit.
uint32_t CheapestBits(float absmax, double squares, size_t size, double weight) {
  uint32_t best = kLeastBits;
  double least = std::numeric_limits<double>::infinity();
  for (uint32_t bits = kLeastBits; bits <= kMostBits; ++bits) {
    const double scale = FloatOfBF16(ObdScale(absmax, bits));
    const double error = squares > 0 ? scale * scale / 12 * static_cast<double>(size) / squares : 0;
    const double cost = error + weight * bits;
    if (cost < least) least = cost, best = bits;
  }
  return best;
}

// FedOBD: the tensors that the server named, each with as many bits as it deserves, rounded to
// nearest. After Chen et al. 2022 (arXiv 2208.05174); the rule for the bits is ours.
class FedObdBody : public CodecBody {
 public:
  FedObdBody(double weight, bool feedback) : weight_(weight), feedback_(feedback) {}
  std::string_view name() const override { return "fed-obd"; }
  uint8_t id() const override { return 15; }
  CodecTraits traits() const override {
    return {.feedback = feedback_,
            .error_bound = "half a scale in a named tensor, everything in another"};
  }
  uint64_t MaxBytes(const Manifest& manifest) const override {
    uint64_t bytes = 0;
    for (const TensorSpec& spec : manifest) {
      bytes += kBlockHeader + PackedBytes(static_cast<size_t>(spec.elements()), kMostBits);
    }
    return bytes;
  }

  absl::Status Encode(const EncodeJob& job, std::string& body) const override {
    RV_ASSIGN_OR_RETURN(const std::vector<NamedBlock> blocks,
                        NamedBlocks(job.manifest, job.context.blocks));
    const std::span<const float> values = TakeIn(job);
    for (const NamedBlock& block : blocks) {
      const float* const x = values.data() + block.offset;
      const float absmax = codec_kernels::LargestMagnitude(x, block.size);
      const uint32_t bits =
          CheapestBits(absmax, codec_kernels::SumOfSquares(x, block.size), block.size, weight_);
      const uint16_t scale = ObdScale(absmax, bits);
      body += static_cast<char>(bits);
      AppendNumbers(std::span(&scale, 1), body);
      const ObdGrid grid{bits, FloatOfBF16(scale)};
      float* const residual = job.residual.empty() ? nullptr : job.residual.data() + block.offset;
      EncodeBlock(grid, x, block.size, residual, Extend(body, PackedBytes(block.size, bits)));
    }
    return absl::OkStatus();
  }

  absl::Status Decode(std::string_view body, const DecodeJob& job,
                      std::span<float> out) const override {
    RV_ASSIGN_OR_RETURN(const std::vector<NamedBlock> blocks,
                        NamedBlocks(job.manifest, job.context.blocks));
    std::fill(out.begin(), out.end(), 0.0f);
    for (const NamedBlock& block : blocks) {
      RV_RETURN_IF_ERROR(DecodeBlock(body, out.subspan(block.offset, block.size)));
    }
    return CheckBytes("fed-obd: behind the last block", body.size(), 0);
  }

 private:
  static void EncodeBlock(const ObdGrid& grid, const float* x, size_t size, float* residual,
                          uint8_t* packed) {
    std::vector<uint16_t> codes(kObdChunk);
    for (size_t first = 0; first < size; first += kObdChunk) {
      const size_t count = std::min(kObdChunk, size - first);
      codec_kernels::NearestCodes(x + first, count, grid.scale, grid.limit(), codes.data(),
                                  residual == nullptr ? nullptr : residual + first);
      PackCodes(std::span(codes).first(count), grid.bits, packed);
      packed += PackedBytes(count, grid.bits);
    }
  }

  static absl::Status DecodeBlock(std::string_view& body, std::span<float> out) {
    if (body.size() < kBlockHeader) {
      return CheckBytes("fed-obd: block header", body.size(), kBlockHeader);
    }
    const uint32_t bits = BytesOf(body)[0];
    body.remove_prefix(1);
    const float scale = FloatOfBF16(TakeNumbers<uint16_t>(body, 1)[0]);
    RV_RETURN_IF_ERROR(CheckScales("fed-obd", {&scale, 1}));
    if (bits < kLeastBits || bits > kMostBits) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "fed-obd: bits: got " + std::to_string(bits) + ", want 2..12");
    }
    const size_t bytes = PackedBytes(out.size(), bits);
    if (body.size() < bytes) return CheckBytes("fed-obd: block", body.size(), bytes);
    const ObdGrid grid{bits, scale};
    std::vector<uint16_t> codes(kObdChunk);
    for (size_t first = 0; first < out.size(); first += kObdChunk) {
      const std::span<uint16_t> some =
          std::span(codes).first(std::min(kObdChunk, out.size() - first));
      const bool filled_well = UnpackCodes(BytesOf(body) + first * bits / 8, bits, some);
      if (!filled_well || *std::max_element(some.begin(), some.end()) > 2 * grid.limit()) {
        return Refuse(absl::StatusCode::kInvalidArgument,
                      "fed-obd: got a code out of range or a filling bit that is set");
      }
      for (size_t at = 0; at < some.size(); ++at) {
        out[first + at] = static_cast<float>(some[at] - grid.limit()) * scale;
      }
    }
    body.remove_prefix(bytes);
    return absl::OkStatus();
  }

  double weight_;
  bool feedback_;
};

}  // namespace

BodyOr NewFedObdBody(const CodecSettings& settings) {
  if (!(settings.size_weight >= 0 && settings.size_weight <= 1)) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "compression.size-weight: got " + std::to_string(settings.size_weight) + ", want 0..1");
  }
  return std::make_unique<FedObdBody>(settings.size_weight, settings.error_feedback);
}

std::vector<uint32_t> ChooseBlocks(const ParameterSet& aggregate, double keep) {
  std::vector<double> importance;
  for (size_t tensor = 0; tensor < aggregate.size(); ++tensor) {
    double squares = 0;  // one order of additions: every machine names the same blocks
    for (const float value : aggregate.floats(tensor)) squares += double{value} * double{value};
    const auto numbers = static_cast<double>(std::max<size_t>(1, aggregate.floats(tensor).size()));
    importance.push_back(std::sqrt(squares) / numbers);
  }
  std::vector<uint32_t> order(aggregate.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&importance](uint32_t a, uint32_t b) { return importance[a] > importance[b]; });
  double room = keep * static_cast<double>(FlatNumbers(aggregate.manifest()));
  std::vector<uint32_t> chosen;
  for (const uint32_t tensor : order) {
    const auto numbers = static_cast<double>(aggregate.floats(tensor).size());
    if (numbers > room) continue;
    room -= numbers;
    chosen.push_back(tensor);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace rivulet
