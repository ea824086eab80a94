#include "privacy/dp/loss_distribution.h"

#include <cmath>

#include "privacy/dp/log_math.h"

namespace rivulet {
namespace {

constexpr double kTail = 9.5;  // standard deviations: 1e-21 of the mass lies beyond

// The hockey-stick divergences at epsilon, exactly: remove is of the mixture against the plain
// Gaussian, add the other way round.
class HockeyStick {
 public:
  explicit HockeyStick(const GaussianMixture& mixture) : mixture_(mixture) {}

  long double Remove(long double epsilon) const {
    const long double x = Inverse(epsilon), growth = expl(epsilon);
    if (std::isinf(x)) return -expm1l(epsilon);
    const long double s = mixture_.sigma;
    return Clamp(MixtureCdf(x, -1) - growth * NormalCdf(-x / s), epsilon);
  }
  long double Add(long double epsilon) const {
    const long double x = Inverse(-epsilon), growth = expl(epsilon);
    if (std::isinf(x)) return 0;
    const long double s = mixture_.sigma;
    return Clamp(NormalCdf(x / s) - growth * MixtureCdf(x, 1), epsilon);
  }

 private:
  static long double Clamp(long double delta, long double epsilon) {
    return std::min(1.0L, std::max(delta, std::max(0.0L, -expm1l(epsilon))));
  }

  // P[X < x] of the mixture for side 1, P[X > x] for side -1.
  long double MixtureCdf(long double x, int side) const {
    long double sum = 0;
    for (size_t k = 0; k < mixture_.weights.size(); ++k) {
      if (mixture_.weights[k] == 0) continue;
      sum += mixture_.weights[k] *
             NormalCdf(side * (x - static_cast<long double>(k)) / mixture_.sigma);
    }
    return sum;
  }

  // The x at which the loss is epsilon; -infinity when every loss is above it.
  long double Inverse(long double epsilon) const {
    if (mixture_.weights.size() > 2) return InverseBySteps(epsilon);
    const long double q = mixture_.weights[1], s = mixture_.sigma;
    const long double ratio = expm1l(epsilon) / q;
    if (ratio <= -1) return -HUGE_VALL;
    return s * s * log1pl(ratio) + 0.5L;
  }

  long double InverseBySteps(long double epsilon) const {
    if (mixture_.weights[0] > 0 && expl(epsilon) <= mixture_.weights[0]) return -HUGE_VALL;
    long double low = -1, high = 1;
    while (LongLoss(low) > epsilon) low *= 2;
    while (LongLoss(high) < epsilon) high *= 2;
    for (int step = 0; step < 80 && high - low > 1e-18L * (1 + std::abs(high)); ++step) {
      const long double middle = (low + high) / 2;
      (LongLoss(middle) < epsilon ? low : high) = middle;
    }
    return (low + high) / 2;
  }

  long double LongLoss(long double x) const {
    const long double s2 = 2.0L * mixture_.sigma * mixture_.sigma;
    long double sum = 0;
    for (size_t count = 0; count < mixture_.weights.size(); ++count) {
      const auto k = static_cast<long double>(count);
      sum += mixture_.weights[count] * expl((2 * k * x - k * k) / s2);
    }
    return logl(sum);
  }

  const GaussianMixture& mixture_;
};

// ln sum mass e^(lambda loss), in blocks so that no exponential overflows. lambda of any sign.
double LogMoment(const LossDistribution& losses, double lambda) {
  constexpr size_t kBlock = 256;
  const double ratio = std::exp(-std::abs(lambda) * losses.grid);
  double total = kMinusInfinity;
  for (size_t first = 0; first < losses.mass.size(); first += kBlock) {
    const size_t last = std::min(first + kBlock, losses.mass.size());
    double sum = 0, factor = 1;
    for (size_t step = 0; step < last - first; ++step) {
      sum += losses.mass[lambda > 0 ? last - 1 - step : first + step] * factor;
      factor *= ratio;
    }
    const auto largest = static_cast<double>(lambda > 0 ? last - 1 : first);
    const double top = lambda * losses.grid * (static_cast<double>(losses.first) + largest);
    if (sum > 0) total = LogAdd(total, top + std::log(sum));
  }
  return total;
}

void FillMoments(LossDistribution& losses) {
  double total = 0, mean = 0, square = 0;
  const double middle = losses.grid * static_cast<double>(losses.first);
  for (size_t at = 0; at < losses.mass.size(); ++at) {
    const double offset = losses.grid * static_cast<double>(at);
    total += losses.mass[at];
    mean += losses.mass[at] * offset;
    square += losses.mass[at] * offset * offset;
  }
  mean /= total;
  losses.mean = middle + mean;
  losses.variance = std::max(0.0, square / total - mean * mean);
  for (int power = 0; power < LossDistribution::kPowers; ++power) {
    const double lambda = std::ldexp(1.0, LossDistribution::kLeastPower + power);
    losses.upper[power] = LogMoment(losses, lambda);
    losses.lower[power] = LogMoment(losses, -lambda);
  }
}

// Joins the exact points (e^eps_i, delta_i) by straight lines: a convex curve, hence the curve of a
// distribution whose losses lie on the grid.
template <typename Curve>
LossDistribution ConnectTheDots(double least, double most, double grid, Curve&& delta) {
  LossDistribution losses{.grid = grid, .first = static_cast<int64_t>(std::floor(least / grid))};
  const auto last = static_cast<int64_t>(std::ceil(most / grid));
  const auto count = static_cast<size_t>(last - losses.first + 1);
  losses.mass.resize(count);
  long double below = 1;  // Q[loss >= eps_i], from the slope left of point i
  const long double step = expm1l(static_cast<long double>(grid));
  long double epsilon = static_cast<long double>(grid) * losses.first;
  long double here = delta(epsilon);
  for (size_t at = 0; at < count; ++at) {
    const long double growth = expl(epsilon);
    long double above = 0;
    if (at + 1 < count) {
      const long double next_epsilon =
          static_cast<long double>(grid) * (losses.first + static_cast<int64_t>(at) + 1);
      const long double next = delta(next_epsilon);
      above = (here - next) / (growth * step);
      here = next;
      epsilon = next_epsilon;
    }
    losses.mass[at] = static_cast<double>(growth * std::max(0.0L, below - above));
    below = above;
  }
  losses.infinite = static_cast<double>(here);
  FillMoments(losses);
  return losses;
}

}  // namespace

GaussianMixture GaussianMixture::Group(int64_t members, double q, double sigma) {
  GaussianMixture mixture{.sigma = sigma};
  for (int64_t k = 0; k <= members; ++k) {
    const auto count = static_cast<double>(k), rest = static_cast<double>(members - k);
    mixture.weights.push_back(std::exp(LogChoose(count + rest, count)) * std::pow(q, count) *
                              std::pow(1 - q, rest));
  }
  return mixture;
}

double GaussianMixture::Loss(double x) const {
  double total = kMinusInfinity;
  for (size_t at = 0; at < weights.size(); ++at) {
    const auto k = static_cast<double>(at);
    if (weights[at] == 0) continue;
    total = LogAdd(total, std::log(weights[at]) + (2 * k * x - k * k) / (2 * sigma * sigma));
  }
  return total;
}

double GaussianMixture::LossWidth() const {
  return Loss(static_cast<double>(weights.size()) - 1 + kTail * sigma) - Loss(-kTail * sigma);
}

double GaussianMixture::LossVariance() const {
  double total = 0, mean = 0, square = 0;
  for (int step = -160; step <= 160; ++step) {
    const double z = step / 20.0;
    const double weight = std::exp(-z * z / 2), loss = Loss(z * sigma);
    total += weight;
    mean += weight * loss;
    square += weight * loss * loss;
  }
  mean /= total;
  return std::max(0.0, square / total - mean * mean);
}

LossPair LossPairOf(const GaussianMixture& mixture, double grid) {
  const double least = mixture.Loss(-kTail * mixture.sigma);
  const double most =
      mixture.Loss(static_cast<double>(mixture.weights.size()) - 1 + kTail * mixture.sigma);
  const HockeyStick stick(mixture);
  return {.remove = ConnectTheDots(least, most, grid,
                                   [&](long double epsilon) { return stick.Remove(epsilon); }),
          .add = ConnectTheDots(-most, -least, grid,
                                [&](long double epsilon) { return stick.Add(epsilon); })};
}

}  // namespace rivulet
