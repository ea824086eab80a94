#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace rivulet {

// How far counts are from those in proportion to `weights`, in standard deviations of the
// chi-square statistic brought to a normal (Wilson and Hilferty 1931; good when every bin expects 5
// or more). |z| > 6 is a false alarm with probability 2e-9.
inline double ProportionZ(const std::vector<uint64_t>& counts, const std::vector<double>& weights) {
  double total = 0, weight = 0, chi_square = 0;
  for (const uint64_t count : counts) total += static_cast<double>(count);
  for (const double one : weights) weight += one;
  for (size_t bin = 0; bin < counts.size(); ++bin) {
    const double expected = total * weights[bin] / weight;
    const double off = static_cast<double>(counts[bin]) - expected;
    chi_square += off * off / expected;
  }
  const double freedom = static_cast<double>(counts.size() - 1);
  const double variance = 2 / (9 * freedom);
  return (std::cbrt(chi_square / freedom) - (1 - variance)) / std::sqrt(variance);
}

inline double UniformityZ(const std::vector<uint64_t>& counts) {
  return ProportionZ(counts, std::vector<double>(counts.size(), 1));
}

}  // namespace rivulet
