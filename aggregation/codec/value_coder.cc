#include "aggregation/codec/value_coder.h"

#include <algorithm>
#include <cmath>

#include "aggregation/codec/body.h"
#include "aggregation/codec/kernels.h"
#include "common/formats/float_cast.h"

namespace rivulet {
namespace {

constexpr size_t kScaleBlock = 256;
constexpr std::string_view kValueNames[] = {"f32", "bf16", "fp16", "int8"};

// Eight significant bits, not below `value` >= 0.
float RoundUpToBF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0xFFFF) & 0xFFFF0000u);
}

void AppendInt8(std::span<const float> values, RoundingSource* rounding, std::string& out) {
  const size_t blocks = (values.size() + kScaleBlock - 1) / kScaleBlock;
  std::vector<uint16_t> scales;
  std::vector<int8_t> codes(values.size());
  for (size_t block = 0; block < blocks; ++block) {
    const size_t first = block * kScaleBlock;
    const std::span<const float> some =
        values.subspan(first, std::min(kScaleBlock, values.size() - first));
    const float scale =
        RoundUpToBF16(codec_kernels::LargestMagnitude(some.data(), some.size()) / 127);
    scales.push_back(BF16OfFloat(scale));
    int32_t rounded[kScaleBlock];
    uint32_t words[kScaleBlock];
    if (rounding != nullptr && scale > 0) {
      rounding->Fill(std::span(words).first(some.size()));
      codec_kernels::RoundToIntegers(some.data(), some.size(), 1.0 / static_cast<double>(scale),
                                     127, words, rounded);
    }
    for (size_t at = 0; at < some.size(); ++at) {
      const float code = scale == 0            ? 0.0f
                         : rounding != nullptr ? static_cast<float>(rounded[at])
                                               : std::nearbyint(some[at] / scale);
      codes[first + at] = static_cast<int8_t>(std::clamp(code, -127.0f, 127.0f));
    }
  }
  AppendNumbers<uint16_t>(scales, out);
  AppendNumbers<int8_t>(codes, out);
}

absl::Status DecodeInt8(std::string_view bytes, std::span<float> values) {
  const size_t blocks = (values.size() + kScaleBlock - 1) / kScaleBlock;
  std::vector<float> scales;
  for (const uint16_t bits : TakeNumbers<uint16_t>(bytes, blocks)) {
    scales.push_back(FloatOfBF16(bits));
  }
  RV_RETURN_IF_ERROR(CheckScales("values", scales));
  const auto* codes = reinterpret_cast<const int8_t*>(bytes.data());
  if (!codec_kernels::CodesWithin(codes, values.size(), -127, 127)) {
    return Refuse(absl::StatusCode::kInvalidArgument, "values: got a code of -128, want -127..127");
  }
  codec_kernels::ScaleInBlocks({kScaleBlock, 127, 1, 0, -127, 127}, codes, values.size(),
                               scales.data(), values.data());
  return absl::OkStatus();
}

absl::Status CheckForF16(std::span<const float> values) {
  const auto bad = std::find_if(values.begin(), values.end(),
                                [](float value) { return std::fabs(value) > 65504.0f; });
  if (bad == values.end()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kOutOfRange, "value " + std::to_string(bad - values.begin()) +
                                                   ": got " + std::to_string(*bad) +
                                                   ", want at most 65504 for fp16");
}

}  // namespace

absl::StatusOr<ValueKind> ValueKindOf(std::string_view name, ValueKind absent) {
  if (name.empty()) return absent;
  for (size_t kind = 0; kind < std::size(kValueNames); ++kind) {
    if (kValueNames[kind] == name) return static_cast<ValueKind>(kind);
  }
  return Refuse(
      absl::StatusCode::kInvalidArgument,
      "compression.values: got '" + std::string(name) + "', want f32, bf16, fp16 or int8");
}

uint64_t BytesOfValues(ValueKind kind, uint64_t count) {
  switch (kind) {
    case ValueKind::kF32:
      return 4 * count;
    case ValueKind::kInt8:
      return count + 2 * ((count + kScaleBlock - 1) / kScaleBlock);
    default:
      return 2 * count;
  }
}

absl::Status AppendValues(ValueKind kind, std::span<const float> values, RoundingSource* rounding,
                          std::string& out) {
  if (kind == ValueKind::kF32) {
    AppendNumbers(values, out);
  } else if (kind == ValueKind::kInt8) {
    AppendInt8(values, rounding, out);
  } else {
    if (kind == ValueKind::kF16) RV_RETURN_IF_ERROR(CheckForF16(values));
    std::vector<uint16_t> halves(values.size());
    kind == ValueKind::kF16 ? codec_kernels::ToF16(values.data(), values.size(), halves.data())
                            : codec_kernels::ToBF16(values.data(), values.size(), halves.data());
    AppendNumbers<uint16_t>(halves, out);
  }
  return absl::OkStatus();
}

absl::Status DecodeValues(ValueKind kind, std::string_view bytes, std::span<float> values) {
  if (kind == ValueKind::kInt8) return DecodeInt8(bytes, values);
  if (kind == ValueKind::kF32) {
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size_bytes());
  } else {
    const std::vector<uint16_t> halves = TakeNumbers<uint16_t>(bytes, values.size());
    const auto from = kind == ValueKind::kF16 ? codec_kernels::FromF16 : codec_kernels::FromBF16;
    (void)from(halves.data(), halves.size(), values.data());
  }
  const float largest = codec_kernels::LargestMagnitude(values.data(), values.size());
  if (largest <= kLargestScale) return absl::OkStatus();  // false for NaN: its bits are the largest
  return Refuse(absl::StatusCode::kInvalidArgument,
                "values: got " + std::to_string(largest) + ", want at most 2^64");
}

}  // namespace rivulet
