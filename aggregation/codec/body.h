#pragma once

#include <bit>
#include <cstring>
#include <memory>
#include <string>

#include "aggregation/codec/codec.h"
#include "aggregation/codec/linear.h"

namespace rivulet {

static_assert(std::endian::native == std::endian::little, "payloads are copied as they are");

// No number of an update is larger: sums of squares of a rotated block stay within binary32.
inline constexpr float kLargestCoded = 0x1p40f;
// No scale or value of a payload is larger: what is decoded from them stays finite.
inline constexpr float kLargestScale = 0x1p64f;

struct EncodeJob {
  const Manifest& manifest;
  std::span<const float> values;    // the flat update: finite, none above kLargestCoded
  std::span<float> residual;        // as long; empty: no error feedback
  std::span<const float> previous;  // the flat previous aggregate; empty: none
  const CodecContext& context;
};

struct DecodeJob {
  const Manifest& manifest;
  bool feedback;  // it was encoded with error feedback
  std::span<const float> previous;
  const CodecContext& context;
};

// What a codec puts between the header and the lossless step. Const methods are safe from many
// threads.
class CodecBody {
 public:
  virtual ~CodecBody() = default;
  virtual std::string_view name() const = 0;
  virtual uint8_t id() const = 0;  // on the wire, never reused
  virtual CodecTraits traits() const = 0;

  // Appends to `body`. With a residual the vector to encode is values + residual; afterwards the
  // residual holds it less what Decode makes of these bytes.
  virtual absl::Status Encode(const EncodeJob& job, std::string& body) const = 0;
  // `out` holds FlatNumbers(manifest) numbers of any values: all are written, all finite.
  virtual absl::Status Decode(std::string_view body, const DecodeJob& job,
                              std::span<float> out) const = 0;
  virtual uint64_t MaxBytes(const Manifest& manifest) const = 0;
};

// residual += values. Returns what is to be encoded: the residual, or without one the values.
std::span<const float> TakeIn(const EncodeJob& job);

// InvalidArgument "<what>: got ... bytes, want ..." unless the sizes are equal.
absl::Status CheckBytes(std::string_view what, uint64_t got, uint64_t want);
// InvalidArgument unless all are finite, not negative, and at most kLargestScale.
absl::Status CheckScales(std::string_view what, std::span<const float> scales);

// The rounding words the context must have. Errors: InvalidArgument.
absl::StatusOr<RoundingSource*> RoundingOf(std::string_view codec, const CodecContext& context);

// Numbers at the end of, and from the front of, a string.
template <typename T>
void AppendNumbers(std::span<const T> numbers, std::string& out) {
  out.append(reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes());
}
template <typename T>
std::vector<T> TakeNumbers(std::string_view& bytes, size_t count) {  // `bytes` must have them
  std::vector<T> numbers(count);
  if (count > 0) std::memcpy(numbers.data(), bytes.data(), count * sizeof(T));
  bytes.remove_prefix(count * sizeof(T));
  return numbers;
}
// `bytes` more, to be written by the caller.
inline uint8_t* Extend(std::string& out, size_t bytes) {
  out.resize(out.size() + bytes);
  return reinterpret_cast<uint8_t*>(out.data() + out.size() - bytes);
}
inline const uint8_t* BytesOf(std::string_view bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

}  // namespace rivulet
