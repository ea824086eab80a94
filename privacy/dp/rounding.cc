#include "privacy/dp/rounding.h"

#include <cmath>
#include <string>

#include "privacy/dp/clip.h"

namespace rivulet {
namespace {

absl::Status BadScale(const char* field, double got, const char* want) {
  return Refuse(
      absl::StatusCode::kInvalidArgument,
      std::string("encoding scale: ") + field + ": got " + std::to_string(got) + ", want " + want);
}

// 32 random bits at a time from 64-bit words.
class HalfWords {
 public:
  explicit HalfWords(WordSource& words) : words_(words) {}
  uint32_t Next() {
    if (has_high_) {
      has_high_ = false;
      return static_cast<uint32_t>(word_ >> 32);
    }
    word_ = words_.Next();
    has_high_ = true;
    return static_cast<uint32_t>(word_);
  }

 private:
  WordSource& words_;
  uint64_t word_ = 0;
  bool has_high_ = false;
};

template <typename T>
absl::Status RoundAll(std::span<const T> values, double scale, WordSource& words,
                      std::span<int64_t> out) {
  if (values.size() != out.size()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "rounding: got room for " + std::to_string(out.size()) + " values, want " +
                      std::to_string(values.size()));
  }
  HalfWords halves(words);
  for (size_t index = 0; index < values.size(); ++index) {
    const double t = double{values[index]} * scale;
    if (!(std::abs(t) < 0x1p52)) {
      return Refuse(absl::StatusCode::kInvalidArgument, "rounding: value " + std::to_string(index) +
                                                            ": got " + std::to_string(t) +
                                                            " grid steps, want less than 2^52");
    }
    const double floor = std::floor(t);
    const auto chance = static_cast<uint64_t>((t - floor) * 0x1p32);
    out[index] = static_cast<int64_t>(floor) + (halves.Next() < chance ? 1 : 0);
  }
  return absl::OkStatus();
}

template <typename T>
absl::StatusOr<int> RoundWithin(std::span<const T> values, double scale, double bound,
                                WordSource& words, std::span<int64_t> out) {
  for (int tries = 1; tries <= kRoundingTries; ++tries) {
    RV_RETURN_IF_ERROR(RoundAll(values, scale, words, out));
    const absl::Status fits = CheckIntegerNorm(out, bound * bound);
    if (fits.ok()) return tries;
    if (fits.code() != absl::StatusCode::kFailedPrecondition) return fits;
  }
  return Refuse(absl::StatusCode::kFailedPrecondition,
                "rounding: got " + std::to_string(kRoundingTries) + " roundings of a norm above " +
                    std::to_string(bound) + ", want one within it: the update is not clipped");
}

}  // namespace

double RoundedNormBound(double scaled_norm, int64_t values, double beta) {
  const auto d = static_cast<double>(values);
  const double root = std::sqrt(d);
  const double always = scaled_norm + root;
  const double mostly = std::sqrt(scaled_norm * scaled_norm + d / 4 +
                                  std::sqrt(2 * std::log(1 / beta)) * (scaled_norm + root / 2));
  return std::min(always, mostly);
}

absl::StatusOr<double> EncodingScale(const ScaleInput& input) {
  if (input.accumulator_bits < 2 || input.accumulator_bits > 48) {
    return BadScale("b_acc", input.accumulator_bits, "2..48");
  }
  if (input.most_clients < 1) {
    return BadScale("n_max", static_cast<double>(input.most_clients), "1 or more");
  }
  if (input.values < 1) return BadScale("d", static_cast<double>(input.values), "1 or more");
  if (!(input.clip_norm > 0) || !std::isfinite(input.clip_norm)) {
    return BadScale("C", input.clip_norm, "a finite number above 0");
  }
  if (!(input.local_sigma >= 0) || !std::isfinite(input.local_sigma)) {
    return BadScale("sigma", input.local_sigma, "a finite number, 0 or more");
  }
  if (!(input.kappa > 0) || !(input.rho > 0)) return BadScale("kappa", input.kappa, "above 0");
  const auto n = static_cast<double>(input.most_clients);
  const double room = std::ldexp(1.0, 2 * input.accumulator_bits) - n * input.kappa * input.kappa;
  if (!(room > 0)) return BadScale("b_acc", input.accumulator_bits, "2^(2 b_acc) > n kappa^2");
  const double signal =
      input.rho * input.clip_norm * input.clip_norm * n * n / static_cast<double>(input.values);
  const double noise = n * input.local_sigma * input.local_sigma;
  return std::sqrt(room) / (2 * input.kappa * std::sqrt(signal + noise));
}

absl::Status RoundStochastically(std::span<const float> values, double scale, WordSource& words,
                                 std::span<int64_t> out) {
  return RoundAll(values, scale, words, out);
}

absl::Status RoundStochastically(std::span<const double> values, double scale, WordSource& words,
                                 std::span<int64_t> out) {
  return RoundAll(values, scale, words, out);
}

absl::StatusOr<int> RoundWithinNorm(std::span<const float> values, double scale, double bound,
                                    WordSource& words, std::span<int64_t> out) {
  return RoundWithin(values, scale, bound, words, out);
}

absl::StatusOr<int> RoundWithinNorm(std::span<const double> values, double scale, double bound,
                                    WordSource& words, std::span<int64_t> out) {
  return RoundWithin(values, scale, bound, words, out);
}

}  // namespace rivulet
