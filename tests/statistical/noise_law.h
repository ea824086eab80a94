#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "privacy/dp/noise_seed.h"
#include "privacy/dp/sampler.h"
#include "tests/unit/privacy/dp/chi_square.h"

namespace rivulet {

inline AesWords StatisticalStream(const std::string& purpose) {
  return NoiseSeed::FromStored(std::string(32, 'S'))->Words(purpose);
}

// `draws` values of a discrete Gaussian against its law, its sign and its lag-1 correlation: false
// alarms 1e-4, 6e-5, 6e-5.
inline void ExpectDiscreteGaussianLaw(uint64_t p, uint64_t q, int64_t draws) {
  const double variance = static_cast<double>(p) / static_cast<double>(q);
  const auto reach = static_cast<int64_t>(7 * std::sqrt(variance)) + 2;
  const DiscreteGaussian gaussian = *DiscreteGaussian::Make(p, q);
  AesWords words = StatisticalStream("law " + std::to_string(p) + "/" + std::to_string(q));
  ChiSquare chi(DiscreteGaussianCells(variance, reach));
  double signs = 0, lagged = 0, squares = 0, last = 0;
  for (int64_t draw = 0; draw < draws; ++draw) {
    const int64_t x = gaussian.Draw(words);
    chi.Count(static_cast<size_t>(std::clamp(x, -reach, reach) + reach));
    const auto now = static_cast<double>(x);
    signs += (x > 0) - (x < 0);
    lagged += now * last;
    squares += now * now;
    last = now;
  }
  const double root = std::sqrt(static_cast<double>(draws));
  EXPECT_LT(chi.Deviate(), 3.72);
  EXPECT_LT(std::abs(signs) / root, 4);
  EXPECT_LT(std::abs(lagged / squares) * root, 4);
}

// `draws` Skellam values against a law convolved from two Poisson laws. False alarm 1e-4.
inline void ExpectSkellamLaw(uint64_t variance, int64_t draws) {
  const double mean = static_cast<double>(variance) / 2;
  const auto reach = static_cast<int64_t>(6 * std::sqrt(static_cast<double>(variance)));
  const auto first = static_cast<int64_t>(std::max(0.0, mean - 12 * std::sqrt(mean)));
  const auto last = static_cast<int64_t>(mean + 12 * std::sqrt(mean)) + 30;
  std::vector<double> poisson, cells(static_cast<size_t>(2 * reach + 1), 0.0);
  for (int64_t k = first; k <= last; ++k) {
    const auto x = static_cast<double>(k);
    poisson.push_back(std::exp(x * std::log(mean) - mean - std::lgamma(x + 1)));
  }
  const auto count = static_cast<int64_t>(poisson.size());
  for (int64_t plus = 0; plus < count; ++plus) {
    for (int64_t minus = 0; minus < count; ++minus) {
      const int64_t x = std::clamp(plus - minus, -reach, reach);
      cells[static_cast<size_t>(x + reach)] += poisson[plus] * poisson[minus];
    }
  }
  AesWords words = StatisticalStream("Skellam " + std::to_string(variance));
  ChiSquare chi(cells);
  for (int64_t draw = 0; draw < draws; ++draw) {
    const int64_t x = std::clamp(*DrawSkellam(words, variance), -reach, reach);
    chi.Count(static_cast<size_t>(x + reach));
  }
  EXPECT_LT(chi.Deviate(), 3.72);
}

}  // namespace rivulet
