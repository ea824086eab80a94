#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace rivulet {

// Counts how often each of `cells` cells was hit and compares with their probabilities.
class ChiSquare {
 public:
  explicit ChiSquare(std::vector<double> probabilities)
      : probabilities_(std::move(probabilities)), counts_(probabilities_.size(), 0) {}
  void Count(size_t cell) {
    ++counts_[cell];
    ++total_;
  }

  // The statistic as a standard normal deviate (Wilson and Hilferty 1931): above 3.72 with
  // probability 1e-4 when the probabilities are right. Cells that expect fewer than 10 are joined.
  double Deviate() const {
    double statistic = 0, expected = 0, seen = 0, joined = 0;
    for (size_t cell = 0; cell < counts_.size(); ++cell) {
      expected += probabilities_[cell] * static_cast<double>(total_);
      seen += static_cast<double>(counts_[cell]);
      if (expected < 10 && cell + 1 < counts_.size()) continue;
      if (expected > 0) statistic += (seen - expected) * (seen - expected) / expected;
      expected = seen = 0;
      ++joined;
    }
    const double k = joined - 1;
    return (std::cbrt(statistic / k) - (1 - 2 / (9 * k))) / std::sqrt(2 / (9 * k));
  }

 private:
  std::vector<double> probabilities_;
  std::vector<uint64_t> counts_;
  uint64_t total_ = 0;
};

// P(-reach..reach) of N_Z(0, variance), with all the rest in the two end cells.
inline std::vector<double> DiscreteGaussianCells(double variance, int64_t reach) {
  const auto weight = [&](int64_t x) {
    return std::exp(-static_cast<double>(x) * static_cast<double>(x) / (2 * variance));
  };
  double total = 0, tail = 0;
  const auto far = static_cast<int64_t>(40 * std::sqrt(variance)) + 40;
  for (int64_t x = -far; x <= far; ++x) total += weight(x);
  for (int64_t x = reach + 1; x <= far; ++x) tail += weight(x);
  std::vector<double> cells;
  for (int64_t x = -reach; x <= reach; ++x) cells.push_back(weight(x) / total);
  cells.front() += tail / total;
  cells.back() += tail / total;
  return cells;
}

}  // namespace rivulet
