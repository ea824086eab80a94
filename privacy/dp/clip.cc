#include "privacy/dp/clip.h"

#include <cmath>
#include <string>

namespace rivulet {
namespace {

constexpr double kClipMargin = 1e-6;

// Eight running sums hide the latency of an addition; blocks keep the sums short. The order is
// fixed, so every machine gets the same bits.
template <typename T>
double SumOfSquares(std::span<const T> values) {
  constexpr size_t kBlock = 4096;
  double total = 0;
  for (size_t first = 0; first < values.size(); first += kBlock) {
    const std::span<const T> block = values.subspan(first, std::min(kBlock, values.size() - first));
    double lanes[8] = {};
    size_t at = 0;
    for (; at + 8 <= block.size(); at += 8) {
      for (size_t lane = 0; lane < 8; ++lane) {
        const double value = block[at + lane];
        lanes[lane] += value * value;
      }
    }
    for (; at < block.size(); ++at) lanes[0] += double{block[at]} * block[at];
    total += ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
             ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
  }
  return total;
}

template <typename T>
absl::Status FirstNotFinite(std::span<const std::span<const T>> tensors) {
  for (size_t tensor = 0; tensor < tensors.size(); ++tensor) {
    for (size_t index = 0; index < tensors[tensor].size(); ++index) {
      if (!std::isfinite(tensors[tensor][index])) {
        return Refuse(absl::StatusCode::kInvalidArgument,
                      "update: tensor " + std::to_string(tensor) + ", value " +
                          std::to_string(index) + ": got " +
                          std::to_string(tensors[tensor][index]) + ", want a finite number");
      }
    }
  }
  return Refuse(absl::StatusCode::kInvalidArgument,
                "update: norm: got a sum of squares above 1.8e308, want a finite one");
}

template <typename T>
absl::StatusOr<double> NormOfAll(std::span<const std::span<const T>> tensors) {
  double total = 0;
  for (const std::span<const T> tensor : tensors) total += SumOfSquares(tensor);
  // A NaN or an infinity among the values survives into the sum.
  if (!std::isfinite(total)) return FirstNotFinite(tensors);
  return std::sqrt(total);
}

}  // namespace

absl::StatusOr<double> NormOf(ClipView tensors) { return NormOfAll(tensors); }

absl::StatusOr<double> NormOf(std::span<const std::span<const double>> tensors) {
  return NormOfAll(tensors);
}

absl::StatusOr<double> ClipFactorOf(double norm, double clip_norm) {
  if (!(clip_norm > 0) || !std::isfinite(clip_norm)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "clip norm: got " + std::to_string(clip_norm) + ", want a finite number above 0");
  }
  if (!(norm >= 0) || !std::isfinite(norm)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "update norm: got " + std::to_string(norm) + ", want a finite number, 0 or more");
  }
  return norm <= clip_norm ? 1.0 : clip_norm * (1 - kClipMargin) / norm;
}

absl::StatusOr<Clipped> ClipOf(ClipView tensors, double clip_norm) {
  RV_ASSIGN_OR_RETURN(const double norm, NormOf(tensors));
  RV_ASSIGN_OR_RETURN(const double factor, ClipFactorOf(norm, clip_norm));
  return Clipped{.norm = norm, .factor = factor, .within = norm <= clip_norm};
}

absl::Status CheckIntegerNorm(std::span<const int64_t> values, double bound_squared) {
  if (!(bound_squared >= 0) || !std::isfinite(bound_squared)) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "norm bound: got " + std::to_string(bound_squared) + ", want a finite number, 0 or more");
  }
  // 2^64 squares of up to 2^126 could overflow; a vector of 2^40 values below 2^43 cannot, and a
  // value above 2^43 would by itself exceed every bound in use.
  constexpr int64_t kValueLimit = int64_t{1} << 43;
  unsigned __int128 total = 0;
  bool huge = false;
  for (const int64_t value : values) {
    huge |= value >= kValueLimit || value <= -kValueLimit;
    const auto wide = static_cast<__int128>(value);
    total += static_cast<unsigned __int128>(wide * wide);
  }
  const double floor = std::floor(bound_squared);
  const bool fits = floor >= 0x1p127 || total <= static_cast<unsigned __int128>(floor);
  if (huge || !fits) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "norm^2 of the rounded update: got " +
                      (huge ? std::string("a value of 2^43 or more")
                            : std::to_string(static_cast<double>(total))) +
                      ", want at most " + std::to_string(floor));
  }
  return absl::OkStatus();
}

}  // namespace rivulet
