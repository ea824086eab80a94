#include "common/scalars/pool_choice.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace rivulet {
namespace {

constexpr uint64_t kOne = uint64_t{1} << 30;  // a weight of 1
constexpr int kPlaces = 16;                   // of v in binary
constexpr uint64_t kTerms = 14;               // of the series: the rest is below 1e-11

// kOne e^(v / 2^16) for v = 0 .. 2^16, by Horner's rule in whole numbers: 1 + v / 1 (1 + v / 2 (1 +
// ... )). Each step rounds down by less than 1.
uint64_t Exponential(uint64_t v) {
  uint64_t sum = kOne;
  for (uint64_t k = kTerms; k > 0; --k) sum = kOne + sum * v / (k << kPlaces);
  return sum;
}

}  // namespace

absl::StatusOr<PoolChoice> PoolChoice::Of(std::span<const float> sums) {
  if (sums.empty())
    return Refuse(absl::StatusCode::kDataLoss, "sums of a pool: got none, want one at least");
  double least = HUGE_VAL, most = 0;

  for (const float sum : sums) {
    if (!std::isfinite(sum)) {
      return Refuse(absl::StatusCode::kDataLoss,
                    "sum of a pool: got " + std::to_string(sum) + ", want a finite number");
    }
    least = std::min(least, std::abs(double{sum}));
    most = std::max(most, std::abs(double{sum}));
  }
  PoolChoice choice;
  uint64_t end = 0;
  for (const float sum : sums) {
    // A difference, a product with a power of two and a quotient: each rounded once.
    const double v =
        most > least ? (std::abs(double{sum}) - least) * (1 << kPlaces) / (most - least) : 0;
    choice.ends_.push_back(end += Exponential(static_cast<uint64_t>(v)));
  }
  return choice;
}

uint64_t PoolChoice::Draw(RandomCursor& cursor) const {
  const uint64_t high = cursor.Next();
  const auto word = static_cast<unsigned __int128>(high << 32 | cursor.Next());
  const auto at = static_cast<uint64_t>(word * total() >> 64);
  return static_cast<uint64_t>(std::upper_bound(ends_.begin(), ends_.end(), at) - ends_.begin());
}

}  // namespace rivulet
