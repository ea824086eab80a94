#include "privacy/dp/pld.h"

#include <bit>
#include <cmath>

#include "privacy/dp/fourier.h"
#include "privacy/dp/log_math.h"

namespace rivulet {
namespace {

// A tail this small is moved to infinity instead of being computed.
constexpr double kLogNegligible = -41.5;  // 1e-18

ComplexNumber Power(ComplexNumber base, int64_t exponent) {
  ComplexNumber result{1, 0};
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) result = result * base;
    base = base * base;
  }
  return result;
}

// What is known of the sum of the losses in one direction without a convolution.
struct Outline {
  int64_t first = 0;      // the least possible loss, grid points
  double log_finite = 0;  // ln P[no step is infinite]
  LossDistribution::Moments upper = {}, lower = {};

  void Add(const LossDistribution& step, int64_t count) {
    const auto times = static_cast<double>(count);
    first += step.first * count;
    log_finite += times * std::log1p(-step.infinite);
    for (int power = 0; power < LossDistribution::kPowers; ++power) {
      upper[power] += times * step.upper[power];
      lower[power] += times * step.lower[power];
    }
  }
  // Chernoff: a distance d from zero at which moments leave at most e^kLogNegligible.
  static double NegligibleFrom(const LossDistribution::Moments& moments) {
    double least = kPlusInfinity;
    for (int power = 0; power < LossDistribution::kPowers; ++power) {
      const double lambda = std::ldexp(1.0, LossDistribution::kLeastPower + power);
      least = std::min(least, (moments[power] - kLogNegligible) / lambda);
    }
    return least;
  }
  double Top() const { return NegligibleFrom(upper); }
  double Bottom() const { return -NegligibleFrom(lower); }
};

}  // namespace

// Both directions go through one complex transform, as real and imaginary part.
class LossComposer {
 public:
  explicit LossComposer(std::span<const RepeatedLoss> steps)
      : steps_(steps), grid_(steps[0].step->remove.grid) {
    for (const RepeatedLoss& part : steps) {
      remove_.Add(part.step->remove, part.times);
      add_.Add(part.step->add, part.times);
    }
  }

  absl::StatusOr<ComposedLoss> Compose() const {
    const double points =
        std::max(remove_.Top() - remove_.Bottom(), add_.Top() - add_.Bottom()) / grid_ + 3;
    if (!(points <= std::ldexp(1.0, kMostTransformBits))) {
      return Refuse(
          absl::StatusCode::kResourceExhausted,
          "loss distribution: got " + std::to_string(points) + " grid points, want at most 2^21");
    }
    const FourierTransform transform(std::bit_width(static_cast<uint64_t>(std::ceil(points)) - 1));
    std::vector<ComplexNumber> total = Spectrum(transform, steps_[0]);
    for (const RepeatedLoss& part : steps_.subspan(1)) {
      const std::vector<ComplexNumber> spectrum = Spectrum(transform, part);
      MultiplyBoth(total, spectrum);
    }
    transform.Inverse(total);
    return ComposedLoss(Unwrap(total, remove_, &ComplexNumber::re),
                        Unwrap(total, add_, &ComplexNumber::im));
  }

 private:
  // Of times-fold sums, losses counted from the least possible one, modulo the transform's length.
  static std::vector<ComplexNumber> Spectrum(const FourierTransform& transform,
                                             const RepeatedLoss& part) {
    std::vector<ComplexNumber> values(transform.size());
    const std::vector<double>&remove = part.step->remove.mass, &add = part.step->add.mass;
    const size_t wrap = values.size() - 1;
    for (size_t at = 0; at < remove.size(); ++at) values[at & wrap].re += remove[at];
    for (size_t at = 0; at < add.size(); ++at) values[at & wrap].im += add[at];
    transform.Forward(values);
    ForBoth(values, [&](ComplexNumber& first, ComplexNumber& second, size_t, size_t) {
      first = Power(first, part.times);
      second = Power(second, part.times);
    });
    return values;
  }

  // Calls `change` with the spectra of the real and of the imaginary part at every frequency, and
  // joins them again. X(k) = A(k) + i B(k) with A(-k) = conj A(k), B(-k) = conj B(k).
  template <typename Change>
  static void ForBoth(std::vector<ComplexNumber>& values, Change&& change) {
    for (size_t at = 0; at < values.size(); ++at) {
      const size_t mirror = FourierTransform::Mirror(at);
      if (mirror < at) continue;
      ComplexNumber a, b;
      Split(values[at], values[mirror], a, b);
      change(a, b, at, mirror);
      values[at] = {a.re - b.im, a.im + b.re};
      if (mirror != at) values[mirror] = {a.re + b.im, b.re - a.im};
    }
  }
  static void Split(ComplexNumber x, ComplexNumber y, ComplexNumber& a, ComplexNumber& b) {
    a = {(x.re + y.re) / 2, (x.im - y.im) / 2};
    b = {(x.im + y.im) / 2, (y.re - x.re) / 2};
  }
  static void MultiplyBoth(std::vector<ComplexNumber>& total,
                           const std::vector<ComplexNumber>& other) {
    ForBoth(total, [&](ComplexNumber& first, ComplexNumber& second, size_t at, size_t mirror) {
      ComplexNumber a, b;
      Split(other[at], other[mirror], a, b);
      first = first * a;
      second = second * b;
    });
  }

  // The window of losses outside of which next to nothing lies; what lies above is infinite.
  ComposedLoss::Direction Unwrap(const std::vector<ComplexNumber>& sums, const Outline& outline,
                                 long double ComplexNumber::*part) const {
    const auto size = static_cast<int64_t>(sums.size());
    ComposedLoss::Direction direction{.grid = grid_};
    direction.first = static_cast<int64_t>(std::floor(outline.Bottom() / grid_));
    const auto kept = std::min(
        size, static_cast<int64_t>(std::ceil(outline.Top() / grid_)) - direction.first + 1);
    direction.infinite = -std::expm1(outline.log_finite) + std::exp(kLogNegligible);
    direction.mass.resize(static_cast<size_t>(kept));
    for (int64_t at = 0; at < kept; ++at) {
      const int64_t offset = direction.first + at - outline.first;
      const int64_t wrapped = ((offset % size) + size) % size;
      direction.mass[static_cast<size_t>(at)] =
          static_cast<double>(std::max(0.0L, sums[static_cast<size_t>(wrapped)].*part));
    }
    return direction;
  }

  std::span<const RepeatedLoss> steps_;
  double grid_;
  Outline remove_, add_;
};

absl::StatusOr<ComposedLoss> ComposedLoss::Make(std::span<const RepeatedLoss> steps) {
  if (steps.empty()) {
    return Refuse(absl::StatusCode::kInvalidArgument, "composition: got no steps, want one");
  }
  for (const RepeatedLoss& part : steps) {
    if (part.times < 1 || part.step->remove.grid != steps[0].step->remove.grid) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "composition: got steps of different grids or none, want one grid");
    }
  }
  return LossComposer(steps).Compose();
}

// From the top down. With S the mass above and D = sum over losses above of mass (1 -
// e^(eps-loss)), one grid step down makes D' = e^-h D + (1 - e^-h) S: no cancellation. Between two
// grid points delta(eps) = S - e^(eps - eps_below) (S - D_below), solved exactly.
double ComposedLoss::EpsilonOfDirection(const Direction& direction, double delta) {
  if (direction.infinite > delta) return kPlusInfinity;
  const double left = delta - direction.infinite;
  const double fall = std::exp(-direction.grid), rise = -std::expm1(-direction.grid);
  double above = 0, divergence = 0;
  for (auto at = static_cast<int64_t>(direction.mass.size()) - 1;
       at >= 0 && direction.first + at > 0; --at) {
    above += direction.mass[static_cast<size_t>(at)];
    const double below = fall * divergence + rise * above;
    if (below > left) {
      const double base = direction.grid * static_cast<double>(direction.first + at - 1);
      return std::max(0.0, base + std::log1p((below - left) / (above - below)));
    }
    divergence = below;
  }
  return 0;
}

double ComposedLoss::DeltaOfDirection(const Direction& direction, double epsilon) {
  double sum = direction.infinite;
  for (auto at = static_cast<int64_t>(direction.mass.size()) - 1; at >= 0; --at) {
    const double loss = direction.grid * static_cast<double>(direction.first + at);
    if (loss <= epsilon) break;
    sum += direction.mass[static_cast<size_t>(at)] * -std::expm1(epsilon - loss);
  }
  return std::min(1.0, sum);
}

double ComposedLoss::Epsilon(double delta) const {
  return std::max(EpsilonOfDirection(remove_, delta), EpsilonOfDirection(add_, delta));
}

double ComposedLoss::Delta(double epsilon) const {
  return std::max(DeltaOfDirection(remove_, epsilon), DeltaOfDirection(add_, epsilon));
}

}  // namespace rivulet
