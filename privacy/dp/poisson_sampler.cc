// Exact Poisson on integers, for Skellam noise. Own construction; every step is a Bernoulli trial
// with a rational probability. With lambda the mean and p(k) the probability of k,
//   p(lambda + a)     / p(lambda) = exp(-sum_{i<=a} ln(1 + i/lambda)),
//   p(lambda - 1 - a) / p(lambda) = exp(-sum_{i<=a} -ln(1 - i/lambda)),
// a >= 0. Proposals for a: flat below 2 t, t = ceil(sqrt(lambda)), then falling by e every t. What
// is left is exp(-R) for a sum R of rates r(i) >= 0 that are irrational but have rational upper
// bounds u(i): exp(-U coin) for U = sum of u(i), where the coin picks i with probability u(i)/U and
// shows heads with r(i)/u(i), by a power series.
#include <cmath>
#include <string>

#include "privacy/dp/sampler.h"

namespace rivulet {
namespace {

// Below, a Poisson variable is a sum of Poisson(1); above, the proposals that are refused outright
// (a > lambda, or a > lambda/2 on the left, or a >= 2^31) have probability below 2^-700 in all.
constexpr uint64_t kSmallMean = 4096;

// sum_n (-x)^n first/(first + n) for x = a/b <= 1: heads when an odd number of trials is made.
bool AlternatingSeries(WordSource& words, uint64_t a, uint64_t b, uint64_t first) {
  uint64_t k = 1;
  while (Bernoulli(words, Unsigned128{a} * (first + k - 1), Unsigned128{b} * (first + k))) ++k;
  return k % 2 == 1;
}

// exp(-(a/b) coin), a <= b.
template <typename Coin>
bool ExpOfCoinUnit(WordSource& words, Unsigned128 a, Unsigned128 b, Coin&& coin) {
  uint64_t k = 1;
  while (Bernoulli(words, a, b * k) && coin()) ++k;
  return k % 2 == 1;
}

template <typename Coin>
bool ExpOfCoin(WordSource& words, Unsigned128 a, Unsigned128 b, Coin&& coin) {
  for (; a > b; a -= b) {
    if (!ExpOfCoinUnit(words, 1, 1, coin)) return false;
  }
  return ExpOfCoinUnit(words, a, b, coin);
}

Unsigned128 Triangle(uint64_t n) { return Unsigned128{n} * (n + 1) / 2; }

// low < i <= high with probability proportional to i.
uint64_t DrawIndex(WordSource& words, uint64_t low, uint64_t high) {
  const Unsigned128 at = Triangle(low) + UniformBelow(words, Triangle(high) - Triangle(low));
  auto index = static_cast<uint64_t>((std::sqrt(8.0L * static_cast<long double>(at) + 1) - 1) / 2);
  while (Triangle(index) > at) --index;
  while (Triangle(index + 1) <= at) ++index;
  return index + 1;
}

class PoissonTarget {
 public:
  explicit PoissonTarget(uint64_t mean) : mean_(mean) {
    t_ = static_cast<uint64_t>(std::sqrt(static_cast<long double>(mean)));
    while (t_ * t_ < mean_) ++t_;
  }

  uint64_t Draw(WordSource& words) const {
    while (true) {
      const uint64_t region = static_cast<uint64_t>(UniformBelow(words, 3));
      uint64_t blocks = region;
      if (region < 2) {
        if (BernoulliExp(words, 1, 1)) continue;  // as likely as the tail's first block, 1 - 1/e
      } else {
        while (BernoulliExp(words, 1, 1)) ++blocks;
      }
      const auto rest = static_cast<uint64_t>(UniformBelow(words, t_));
      const bool left = Bernoulli(words, 1, 2);
      if (blocks > (uint64_t{1} << 31) / t_) continue;
      const uint64_t a = blocks * t_ + rest;
      if (a >= uint64_t{1} << 31 || a > (left ? mean_ / 2 : mean_)) continue;
      if (!Accept(words, left, a, region == 2 ? rest : 0)) continue;
      return left ? mean_ - 1 - a : mean_ + a;
    }
  }

 private:
  bool Accept(WordSource& words, bool left, uint64_t a, uint64_t rest_in_tail) const {
    const uint64_t flat = std::min(a, 2 * t_);
    return Fall(words, left, 0, flat) &&
           (a == flat || (Fall(words, left, flat, a) && BernoulliExp(words, rest_in_tail, t_)));
  }

  // exp(-sum over low < i <= high of the rates), less 1/t each in the tail (low > 0).
  bool Fall(WordSource& words, bool left, uint64_t low, uint64_t high) const {
    if (low == high) return true;
    const Unsigned128 sum = Triangle(high) - Triangle(low);
    return ExpOfCoin(words, sum * (left ? 2 : 1), mean_, [&] {
      const uint64_t i = DrawIndex(words, low, high);
      return left ? LeftCoin(words, i, low > 0) : RightCoin(words, i, low > 0);
    });
  }

  // ln(1+x)/x = 1 - x/2 + x^2/3 - ... for x = i/lambda, less 1/(t x) in the tail. There tails show
  // with (1 - ln(1+x)/x) + 1/(t x), either half the time and twice as likely.
  bool RightCoin(WordSource& words, uint64_t i, bool tail) const {
    if (!tail) return AlternatingSeries(words, i, mean_, 1);
    if (Bernoulli(words, 1, 2)) {
      return !(Bernoulli(words, i, mean_) && AlternatingSeries(words, i, mean_, 2));
    }
    return !Bernoulli(words, Unsigned128{2} * mean_, Unsigned128{t_} * i);
  }

  // -ln(1-x)/(2x) = sum_n 2^-(n+1) (2x)^n/(n+1), less 1/(2 t x) in the tail, from the first term.
  bool LeftCoin(WordSource& words, uint64_t i, bool tail) const {
    uint64_t n = 0;
    while (Bernoulli(words, 1, 2)) ++n;
    if (n == 0) return !tail || !Bernoulli(words, mean_, Unsigned128{t_} * i);
    for (uint64_t trial = 0; trial < n; ++trial) {
      if (!Bernoulli(words, Unsigned128{2} * i, mean_)) return false;
    }
    return Bernoulli(words, 1, n + 1);
  }

  uint64_t mean_;
  uint64_t t_;
};

// Proposes n with 2^-(n+1), accepts with 2^(n-1)/n!.
uint64_t DrawPoissonOne(WordSource& words) {
  while (true) {
    uint64_t n = 0;
    while (Bernoulli(words, 1, 2)) ++n;
    bool accepted = n > 0 || Bernoulli(words, 1, 2);
    for (uint64_t i = 3; accepted && i <= n; ++i) accepted = Bernoulli(words, 2, i);
    if (accepted) return n;
  }
}

}  // namespace

absl::StatusOr<uint64_t> DrawPoisson(WordSource& words, uint64_t mean) {
  if (mean > kMostPoissonMean) {
    return Refuse(absl::StatusCode::kOutOfRange,
                  "Poisson: mean: got " + std::to_string(mean) + ", want at most 2^44");
  }
  if (mean >= kSmallMean) return PoissonTarget(mean).Draw(words);
  uint64_t sum = 0;
  for (uint64_t part = 0; part < mean; ++part) sum += DrawPoissonOne(words);
  return sum;
}

absl::StatusOr<int64_t> DrawSkellam(WordSource& words, uint64_t variance) {
  if (variance == 0 || variance % 2 != 0) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "Skellam: variance: got " + std::to_string(variance) + ", want an even number");
  }
  RV_ASSIGN_OR_RETURN(const uint64_t plus, DrawPoisson(words, variance / 2));
  RV_ASSIGN_OR_RETURN(const uint64_t minus, DrawPoisson(words, variance / 2));
  return static_cast<int64_t>(plus) - static_cast<int64_t>(minus);
}

}  // namespace rivulet
