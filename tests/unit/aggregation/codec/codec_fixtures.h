#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "aggregation/codec/codec.h"
#include "aggregation/codec/linear.h"
#include "common/random.h"

namespace rivulet {

// Words that a test can draw again.
class SeededRounding : public RoundingSource {
 public:
  explicit SeededRounding(uint64_t seed) : words_(RandomStream(seed, Purpose::kSampling, 0)) {}
  void Fill(std::span<uint32_t> words) override {
    words_.Fill(drawn_, words);
    drawn_ += words.size();
  }

 private:
  PhiloxWords words_;
  uint64_t drawn_ = 0;
};

inline Manifest VectorOf(int64_t size) { return {{"w", DType::kF32, {size}}}; }

// Tensors of awkward sizes: empty, one number, borders of no block, and two matrices.
inline Manifest AwkwardManifest() {
  return {{"a", DType::kF32, {40, 30}},
          {"b", DType::kF32, {0}},
          {"c", DType::kF32, {}},
          {"d", DType::kF32, {37}},
          {"e", DType::kF32, {50, 4, 3}}};
}

// Normal numbers, each tensor on a scale of its own.
inline ParameterSet NormalUpdate(const Manifest& manifest, uint64_t seed) {
  ParameterSet update(manifest);
  for (size_t tensor = 0; tensor < update.size(); ++tensor) {
    const std::span<float> values = update.floats(tensor);
    RandomStream(seed, Purpose::kDirection, 0).FillGauss(static_cast<uint32_t>(tensor), values);
    for (float& value : values) value *= 0.01f / static_cast<float>(tensor + 1);
  }
  return update;
}

inline ParameterSet UpdateOf(const std::vector<float>& values) {
  ParameterSet update(VectorOf(static_cast<int64_t>(values.size())));
  std::copy(values.begin(), values.end(), update.floats(0).begin());
  return update;
}

inline std::vector<float> FlatCopy(const ParameterSet& set) {
  std::vector<float> storage;
  const std::span<const float> flat = Flatten(set, storage);
  return {flat.begin(), flat.end()};
}

inline double SquaresOf(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += double{value} * double{value};
  return sum;
}

inline double SquaredDistance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t at = 0; at < a.size(); ++at) sum += std::pow(double{a[at]} - double{b[at]}, 2);
  return sum;
}

inline std::unique_ptr<Codec> CodecFor(const CodecSettings& settings) {
  auto codec = MakeCodec(settings);
  EXPECT_TRUE(codec.ok()) << codec.status();
  return *std::move(codec);
}

// Decodes what must be good.
inline ParameterSet Decoded(const Codec& codec, std::string_view payload, const Manifest& manifest,
                            const CodecContext& context) {
  ParameterSet out(manifest);
  const absl::Status status = codec.Decode(payload, context, out);
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

}  // namespace rivulet
