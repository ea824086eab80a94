#include "privacy/dp/loss_distribution.h"

#include <cmath>
#include <span>
#include <utility>

#include "privacy/dp/log_math.h"

namespace rivulet {
namespace {

constexpr double kTail = 9.5;  // standard deviations: 1e-21 of the mass lies beyond

// Both hockey-stick divergences, exactly: of the mixture P against the plain Gaussian Q at epsilon,
// and of Q against P at -epsilon.
struct TwoDeltas {
  long double remove, add;
};

class HockeyStick {
 public:
  explicit HockeyStick(const GaussianMixture& mixture) : mixture_(mixture) {}

  // Fastest for increasing epsilon.
  TwoDeltas At(long double epsilon) {
    const long double x = Inverse(epsilon);
    if (std::isinf(x)) return {-expm1l(epsilon), 0};
    Sides p{0, 0};
    for (size_t k = 0; k < mixture_.weights.size(); ++k) {
      if (mixture_.weights[k] == 0) continue;
      const Sides one = SidesOf(x - static_cast<long double>(k));
      p = {p.below + mixture_.weights[k] * one.below, p.above + mixture_.weights[k] * one.above};
    }
    const Sides q = SidesOf(x);
    return {Clamp(p.above - expl(epsilon) * q.above, epsilon),
            Clamp(q.below - expl(-epsilon) * p.below, -epsilon)};
  }

 private:
  struct Sides {
    long double below, above;
  };
  // P[N(0, sigma^2) < x] and its complement, each without cancellation where it is small.
  Sides SidesOf(long double x) const {
    const long double tail = NormalCdf(-std::abs(x) / mixture_.sigma);
    return x > 0 ? Sides{1 - tail, tail} : Sides{tail, 1 - tail};
  }

  static long double Clamp(long double delta, long double epsilon) {
    return std::min(1.0L, std::max(delta, std::max(0.0L, -expm1l(epsilon))));
  }

  // The x at which the loss is epsilon; -infinity when every loss is above it.
  long double Inverse(long double epsilon) {
    if (mixture_.weights.size() > 2) return InverseBySteps(epsilon);
    const long double q = mixture_.weights[1], s = mixture_.sigma;
    const long double ratio = expm1l(epsilon) / q;
    if (ratio <= -1) return -HUGE_VALL;
    return s * s * log1pl(ratio) + 0.5L;
  }

  // Newton's steps: the loss is convex and increasing in x, so that after the first one, wherever
  // it started, they come down to the root.
  long double InverseBySteps(long double epsilon) {
    if (expl(epsilon) <= mixture_.weights[0]) return -HUGE_VALL;
    long double x = hint_;
    for (int step = 0; step < 200; ++step) {
      const auto [loss, slope] = LossAndSlope(x);
      const long double next = x - (loss - epsilon) / slope;
      const bool done = step > 0 && next >= x - 1e-18L * std::abs(x);
      // Left of the root the slope may be nearly flat: no step is longer than the last tail.
      x = std::clamp(next, x - 10 * mixture_.sigma, x + 10 * mixture_.sigma);
      if (done) break;
    }
    return hint_ = x;
  }

  std::pair<long double, long double> LossAndSlope(long double x) const {
    const long double s2 = static_cast<long double>(mixture_.sigma) * mixture_.sigma;
    long double sum = 0, moment = 0;
    for (size_t count = 0; count < mixture_.weights.size(); ++count) {
      const auto k = static_cast<long double>(count);
      const long double part = mixture_.weights[count] * expl((2 * k * x - k * k) / (2 * s2));
      sum += part;
      moment += k * part;
    }
    return {logl(sum), moment / (sum * s2)};
  }

  const GaussianMixture& mixture_;
  long double hint_ = 0;
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
LossDistribution ConnectTheDots(double grid, int64_t first, std::span<const long double> deltas) {
  LossDistribution losses{.grid = grid, .first = first};
  losses.mass.resize(deltas.size());
  long double below = 1;  // Q[loss >= eps_i], from the slope left of point i
  const long double step = expm1l(static_cast<long double>(grid));
  for (size_t at = 0; at < deltas.size(); ++at) {
    const long double growth =
        expl(static_cast<long double>(grid) * (first + static_cast<int64_t>(at)));
    const long double above =
        at + 1 < deltas.size() ? (deltas[at] - deltas[at + 1]) / (growth * step) : 0;
    losses.mass[at] = static_cast<double>(growth * std::max(0.0L, below - above));
    below = above;
  }
  losses.infinite = static_cast<double>(deltas.back());
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
  const auto first = static_cast<int64_t>(std::floor(least / grid));
  const auto last = static_cast<int64_t>(std::ceil(most / grid));
  const auto count = static_cast<size_t>(last - first + 1);
  std::vector<long double> remove(count), add(count);
  HockeyStick stick(mixture);
  for (size_t at = 0; at < count; ++at) {
    const TwoDeltas deltas =
        stick.At(static_cast<long double>(grid) * (first + static_cast<int64_t>(at)));
    remove[at] = deltas.remove;
    add[count - 1 - at] = deltas.add;
  }
  return {.remove = ConnectTheDots(grid, first, remove), .add = ConnectTheDots(grid, -last, add)};
}

}  // namespace rivulet
