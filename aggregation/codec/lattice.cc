#include "aggregation/codec/lattice.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

#include "aggregation/codec/kernels.h"

namespace rivulet {
namespace {

constexpr size_t kWordsAtOnce = 4096;

size_t Round(std::span<const float> values, double scale, double limit, RoundingSource& rounding,
             std::span<int32_t> out) {
  if (values.size() != out.size()) std::abort();
  uint32_t words[kWordsAtOnce];
  size_t clamped = 0;
  for (size_t first = 0; first < values.size(); first += kWordsAtOnce) {
    const size_t count = std::min(kWordsAtOnce, values.size() - first);
    rounding.Fill(std::span(words).first(count));
    clamped += codec_kernels::RoundToIntegers(values.data() + first, count, scale, limit, words,
                                              out.data() + first);
  }
  return clamped;
}

template <typename T>
void Dequantise(std::span<const T> sum, double scale, int64_t weights, std::span<float> mean) {
  if (sum.size() != mean.size() || weights < 1) std::abort();
  const double unit = scale * static_cast<double>(weights);
  for (size_t at = 0; at < sum.size(); ++at) {
    mean[at] = static_cast<float>(static_cast<double>(sum[at]) / unit);
  }
}

}  // namespace

absl::Status LatticeParams::Validate() const {
  if (p < 2 || p > 30) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "lattice.p: got " + std::to_string(p) + ", want 2..30");
  }
  if (!(v > 0) || !std::isfinite(v) || !std::isfinite(scale())) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "lattice.v: got " + std::to_string(v) + ", want a finite number above 0");
  }
  return absl::OkStatus();
}

double LatticeBound(double clip, size_t rotated_size, double deviations) {
  return rotated_size == 0 ? clip
                           : deviations * clip / std::sqrt(static_cast<double>(rotated_size));
}

double LatticeDeviations(int bits) {
  constexpr double kBest[] = {1.7, 2.4, 2.9, 3.3, 3.6, 3.9};  // 2..7 bits
  return bits >= 2 && bits <= 7 ? kBest[bits - 2] : 8;
}

double ShareBeyond(double deviations) { return std::erfc(deviations / std::sqrt(2.0)); }

void RoundStochastically(std::span<const float> values, double scale, RoundingSource& rounding,
                         std::span<int32_t> out) {
  Round(values, scale, std::numeric_limits<int32_t>::max(), rounding, out);
}

size_t QuantiseToLattice(std::span<const float> values, const LatticeParams& params,
                         RoundingSource& rounding, std::span<int32_t> out) {
  return Round(values, params.scale(), params.limit(), rounding, out);
}

void DequantiseSum(std::span<const int64_t> sum, double scale, int64_t weights,
                   std::span<float> mean) {
  Dequantise(sum, scale, weights, mean);
}
void DequantiseSum(std::span<const int32_t> sum, double scale, int64_t weights,
                   std::span<float> mean) {
  Dequantise(sum, scale, weights, mean);
}

}  // namespace rivulet
