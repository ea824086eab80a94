#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "aggregation/codec/rounding.h"
#include "common/status.h"

namespace rivulet {

// How the numbers travel that a codec keeps.
enum class ValueKind : uint8_t { kF32, kBF16, kF16, kInt8 };

// By `values` of the settings; empty is `absent`. Errors: InvalidArgument.
absl::StatusOr<ValueKind> ValueKindOf(std::string_view name, ValueKind absent);

// kInt8: a bf16 scale for each 256 numbers (absmax / 127, rounded up: with eight significant bits
// every decoded number is exact), all scales first; then a byte each.
uint64_t BytesOfValues(ValueKind kind, uint64_t count);

// Appends them. kInt8 rounds to nearest, or, with `rounding`, stochastically.
// Errors: OutOfRange naming a number that kF16 cannot hold.
absl::Status AppendValues(ValueKind kind, std::span<const float> values, RoundingSource* rounding,
                          std::string& out);

// `bytes` has BytesOfValues(kind, values.size()).
// Errors: InvalidArgument for a number or scale that is not finite or above 2^64, or a code of
// -128.
absl::Status DecodeValues(ValueKind kind, std::string_view bytes, std::span<float> values);

}  // namespace rivulet
