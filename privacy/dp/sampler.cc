#include "privacy/dp/sampler.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace rivulet {
namespace {

constexpr Unsigned128 kDenominatorLimit = Unsigned128{1} << 127;

[[noreturn]] void EndForWantOfBits(const char* what) {
  std::fprintf(stderr, "discrete Gaussian: %s outgrew 127 bits\n", what);
  std::abort();
}

uint64_t UniformBelow64(WordSource& words, uint64_t m) {
  if (m == 1) return 0;
  while (true) {
    const uint64_t word = words.Next();
    const uint64_t rest = word % m;
    // The multiples of m that end beyond 2^64 are not whole: draw again.
    if (word - rest <= 0 - m) return rest;
  }
}

Unsigned128 UniformBelow128(WordSource& words, Unsigned128 m) {
  while (true) {
    const Unsigned128 low = words.Next();
    const Unsigned128 word = low | Unsigned128{words.Next()} << 64;
    const Unsigned128 rest = word % m;
    if (word - rest <= 0 - m) return rest;
  }
}

bool Bernoulli64(WordSource& words, uint64_t a, uint64_t b) { return UniformBelow64(words, b) < a; }

// exp(-a/b) for a <= b, while b k fits 64 bits; then in 128.
bool BernoulliExpUnit(WordSource& words, Unsigned128 a, Unsigned128 b) {
  uint64_t k = 1;
  if (b >> 63 == 0) {
    const auto a64 = static_cast<uint64_t>(a), b64 = static_cast<uint64_t>(b);
    uint64_t product = b64;
    while (Bernoulli64(words, a64, product)) {
      ++k;
      if (__builtin_add_overflow(product, b64, &product)) break;
    }
    if (Unsigned128{b64} * k == product) return k % 2 == 1;
  }
  while (true) {
    if (b > kDenominatorLimit / k) EndForWantOfBits("a denominator");
    if (!Bernoulli(words, a, b * k)) return k % 2 == 1;
    ++k;
  }
}

// exp(-1).
bool BernoulliExpOne(WordSource& words) {
  uint64_t k = 2;  // Bern(1/1) reads nothing and is true
  while (UniformBelow64(words, k) == 0) ++k;
  return k % 2 == 1;
}

uint64_t FloorRoot(uint64_t value) {
  auto root = static_cast<uint64_t>(std::sqrt(static_cast<long double>(value)));
  while (Unsigned128{root} * root > value) --root;
  while (Unsigned128{root + 1} * (root + 1) <= value) ++root;
  return root;
}

}  // namespace

Unsigned128 UniformBelow(WordSource& words, Unsigned128 m) {
  return m >> 64 == 0 ? UniformBelow64(words, static_cast<uint64_t>(m)) : UniformBelow128(words, m);
}

bool Bernoulli(WordSource& words, Unsigned128 a, Unsigned128 b) {
  return UniformBelow(words, b) < a;
}

bool BernoulliExp(WordSource& words, Unsigned128 a, Unsigned128 b) {
  while (a > b) {
    if (!BernoulliExpOne(words)) return false;
    a -= b;
  }
  return BernoulliExpUnit(words, a, b);
}

int64_t DiscreteLaplace(WordSource& words, uint64_t t) {
  while (true) {
    const uint64_t u = UniformBelow64(words, t);
    if (!BernoulliExpUnit(words, u, t)) continue;
    uint64_t v = 0;
    while (BernoulliExpOne(words)) ++v;
    uint64_t magnitude;
    if (__builtin_mul_overflow(t, v, &magnitude) || magnitude >> 62 != 0) {
      EndForWantOfBits("a proposal");
    }
    magnitude += u;
    const bool negative = UniformBelow64(words, 2) < 1;
    if (negative && magnitude == 0) continue;
    return negative ? -static_cast<int64_t>(magnitude) : static_cast<int64_t>(magnitude);
  }
}

absl::StatusOr<DiscreteGaussian> DiscreteGaussian::Make(uint64_t p, uint64_t q) {
  if (p == 0 || q == 0) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "discrete Gaussian: variance: got " + std::to_string(p) + "/" +
                      std::to_string(q) + ", want both above 0");
  }
  const uint64_t t = FloorRoot(p / q) + 1;
  // Proposals reach |y| t Q < 2^63, so at least 63 t: they go beyond with probability 1e-27.
  if (p > kMostVariance || static_cast<long double>(t) * t * q > 0x1.01p57L) {
    return Refuse(absl::StatusCode::kOutOfRange, "discrete Gaussian: variance: got " +
                                                     std::to_string(p) + "/" + std::to_string(q) +
                                                     ", want at most 2^57 and few digits");
  }
  return DiscreteGaussian(p, q, t);
}

DiscreteGaussian::DiscreteGaussian(uint64_t p, uint64_t q, uint64_t t)
    : p_(p), q_(q), t_(t), denominator_(Unsigned128{2} * p * q * t * t) {}

int64_t DiscreteGaussian::Draw(WordSource& words) const {
  while (true) {
    const int64_t y = DiscreteLaplace(words, t_);
    const Unsigned128 scaled = Unsigned128{static_cast<uint64_t>(y < 0 ? -y : y)} * t_ * q_;
    const Unsigned128 distance = scaled > p_ ? scaled - p_ : p_ - scaled;
    if (distance >> 63 != 0) EndForWantOfBits("a numerator");
    if (BernoulliExp(words, distance * distance, denominator_)) return y;
  }
}

void DiscreteGaussian::Fill(WordSource& words, std::span<int64_t> out) const {
  for (int64_t& value : out) value = Draw(words);
}

}  // namespace rivulet
