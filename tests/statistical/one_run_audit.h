#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

// Privacy audited from outside, in one run: m canaries, each there or not by a fair coin of its
// own, and guesses from what was released. Whoever guesses right too often refutes the claim.
// Source: Steinke, Nasr, Jagielski 2023, "Privacy Auditing with One (1) Training Run",
// Algorithm 1 and its bound for approximate privacy. Neighbours: one canary more or less.
namespace rivulet {

struct AuditGuesses {
  int64_t canaries = 0;
  int64_t guesses = 0;  // the rest is left open
  int64_t right = 0;
};

// The `each` highest scores are guessed to be there, the `each` lowest not to be.
inline AuditGuesses GuessCanaries(std::span<const double> scores, const std::vector<bool>& there,
                                  size_t each) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return scores[a] < scores[b] || (scores[a] == scores[b] && a < b);
  });
  AuditGuesses result{static_cast<int64_t>(scores.size()), static_cast<int64_t>(2 * each), 0};
  for (size_t rank = 0; rank < each; ++rank) {
    result.right += there[order[rank]] ? 0 : 1;
    result.right += there[order[order.size() - 1 - rank]] ? 1 : 0;
  }
  return result;
}

// The chance, at most, of so many right guesses about an (epsilon, delta)-private mechanism. A pure
// one allows a binomial number of them, each right with probability e^eps / (1 + e^eps); delta adds
// 2 m delta max_i P[right - i <= Binomial < right] / i.
inline double AuditChance(const AuditGuesses& seen, double epsilon, double delta) {
  const auto n = static_cast<double>(seen.guesses);
  const double log_right = -std::log1p(std::exp(-epsilon)), log_wrong = log_right - epsilon;
  const auto exactly = [&](int64_t count) {
    const auto k = static_cast<double>(count);
    return std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) +
                    k * log_right + (n - k) * log_wrong);
  };
  double tail = 0, below = 0, alpha = 0;
  for (int64_t count = seen.right; count <= seen.guesses; ++count) tail += exactly(count);
  for (int64_t i = 1; i <= seen.right; ++i) {
    below += exactly(seen.right - i);
    alpha = std::max(alpha, below / static_cast<double>(i));
  }
  return std::min(1.0, tail + 2 * static_cast<double>(seen.canaries) * delta * alpha);
}

// The largest epsilon that these guesses refute at `delta`, 0 when none. A true claim is at or
// below it with probability `chance` at most.
inline double AuditedEpsilon(const AuditGuesses& seen, double delta, double chance) {
  if (AuditChance(seen, 0, delta) >= chance) return 0;
  double refuted = 0, open = 1;
  while (AuditChance(seen, open, delta) < chance) refuted = std::exchange(open, 2 * open);
  for (int halving = 0; halving < 40; ++halving) {
    const double middle = (refuted + open) / 2;
    (AuditChance(seen, middle, delta) < chance ? refuted : open) = middle;
  }
  return refuted;
}

}  // namespace rivulet
