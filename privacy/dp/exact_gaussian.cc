#include "privacy/dp/exact_gaussian.h"

#include <cmath>

#include "privacy/dp/log_math.h"

namespace rivulet {
namespace {

long double DeltaAtEpsilon(long double mu, long double epsilon) {
  const long double low = NormalCdf(-mu / 2 - epsilon / mu);
  const long double scaled = low > 0 ? expl(epsilon + logl(low)) : 0.0L;
  return std::max(0.0L, NormalCdf(mu / 2 - epsilon / mu) - scaled);
}

}  // namespace

double ExactGaussianDelta(double mu, double epsilon) {
  return mu == 0 ? 0 : static_cast<double>(DeltaAtEpsilon(mu, epsilon));
}

double ExactGaussianEpsilon(double mu, double delta) {
  if (mu == 0 || ExactGaussianDelta(mu, 0) <= delta) return 0;
  if (std::isinf(mu)) return kPlusInfinity;
  long double low = 0, high = 1;
  while (DeltaAtEpsilon(mu, high) > delta) high *= 2;
  for (int step = 0; step < 70; ++step) {
    const long double middle = (low + high) / 2;
    (DeltaAtEpsilon(mu, middle) > delta ? low : high) = middle;
  }
  return std::nextafter(static_cast<double>(high), kPlusInfinity);
}

}  // namespace rivulet
