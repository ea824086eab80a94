#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace rivulet {

inline constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
inline constexpr double kPlusInfinity = std::numeric_limits<double>::infinity();

// ln(e^a + e^b).
inline double LogAdd(double a, double b) {
  const double large = std::max(a, b), small = std::min(a, b);
  return small == kMinusInfinity ? large : large + std::log1p(std::exp(small - large));
}

// ln(e^a - e^b) for a >= b.
inline double LogSubtract(double a, double b) {
  if (b == kMinusInfinity) return a;
  return a > b ? a + std::log(-std::expm1(b - a)) : kMinusInfinity;
}

// ln C(n, k) for integers 0 <= k <= n. lgamma_r: lgamma writes to a global.
inline double LogChoose(double n, double k) {
  int sign = 0;
  return lgamma_r(n + 1, &sign) - lgamma_r(k + 1, &sign) - lgamma_r(n - k + 1, &sign);
}

// ln erfc(x), also where erfc itself underflows.
// Above 20: erfc(x) = e^(-x^2) / (x sqrt(pi)) (1 - 1/(2x^2) + 3/(4x^4) - 15/(8x^6) + ...), whose
// first term left out is below 1e-8 of the last one kept.
inline double LogErfc(double x) {
  if (x < 20) return std::log(std::erfc(x));
  const double y = 1 / (x * x);
  const double series =
      -y / 2 + y * y * (3.0 / 4 + y * (-15.0 / 8 + y * (105.0 / 16 - y * 945.0 / 32)));
  return -x * x - std::log(x) - 0.5 * std::log(M_PI) + std::log1p(series);
}

// The standard normal distribution function, accurate in both tails.
inline long double NormalCdf(long double x) { return 0.5L * erfcl(-x * M_SQRT1_2l); }

}  // namespace rivulet
