#include "privacy/dp/group_privacy.h"

#include <cmath>

#include "privacy/dp/log_math.h"

namespace rivulet {
namespace {

// ln( d (e^(g eps) - 1)/(e^eps - 1) ).
double LogGroupDelta(const RdpCurve& unit, double members, double log_delta) {
  const double epsilon = EpsilonOf(unit, std::exp(log_delta)).epsilon;
  if (epsilon == 0) return log_delta + std::log(members);
  return log_delta + LogSubtract(members * epsilon, 0) - LogSubtract(epsilon, 0);
}

}  // namespace

double GroupLemmaEpsilon(const RdpCurve& unit, int64_t members, double delta) {
  const auto g = static_cast<double>(members);
  double low = -700, high = std::log(delta);  // e^-700 is still a normal number
  if (LogGroupDelta(unit, g, low) > std::log(delta)) return kPlusInfinity;
  for (int step = 0; step < 100; ++step) {
    const double middle = (low + high) / 2;
    (LogGroupDelta(unit, g, middle) <= std::log(delta) ? low : high) = middle;
  }
  return g * EpsilonOf(unit, std::exp(low)).epsilon;
}

}  // namespace rivulet
