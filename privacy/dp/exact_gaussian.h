#pragma once

namespace rivulet {

// The exact trade-off of Gaussian releases without sampling: mu = sqrt(sum of 1/sigma_i^2) > 0,
//   delta(eps) = Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu).
// Source: Balle, Wang 2018, Theorem 8. The classical sqrt(2 ln(1.25/delta))/eps is nowhere in this
// project: it is wrong above epsilon = 1.
double ExactGaussianDelta(double mu, double epsilon);

// The smallest epsilon >= 0 whose delta is at most `delta`, rounded up by bisection in long double;
// 0 < delta < 1. mu = 0 gives 0, mu = infinity infinity.
double ExactGaussianEpsilon(double mu, double delta);

}  // namespace rivulet
