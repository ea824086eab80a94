// Formulas that production never uses: published numbers of others are checked with them.
#include <cmath>
#include <map>
#include <numeric>

#include "privacy/dp/log_math.h"
#include "privacy/dp/rdp.h"

namespace rivulet {
namespace {

// A number as sign and logarithm.
struct SignedLog {
  double log = kMinusInfinity;
  int sign = 1;
};

SignedLog Plus(SignedLog a, SignedLog b) {
  if (a.sign == b.sign) return {LogAdd(a.log, b.log), a.sign};
  if (a.log < b.log) std::swap(a, b);
  return {LogSubtract(a.log, b.log), a.sign};
}

// C(alpha, i) for real alpha, by its recurrence C(a, i+1) = C(a, i) (a - i)/(i + 1).
class Binomials {
 public:
  explicit Binomials(double alpha) : alpha_(alpha) {}
  SignedLog Next() {
    const SignedLog now = value_;
    const double factor = (alpha_ - index_) / (index_ + 1);
    value_ = {now.log + std::log(std::abs(factor)), factor < 0 ? -now.sign : now.sign};
    ++index_;
    return now;
  }

 private:
  double alpha_;
  double index_ = 0;
  SignedLog value_{0.0, 1};
};

// ln of the i-th term of both series, without the binomial.
struct Terms {
  double alpha, log_q, log_rest, sigma, z0;

  double First(double i) const {
    return i * log_q + (alpha - i) * log_rest + (i * i - i) / (2 * sigma * sigma) +
           LogErfc((i - z0) / (M_SQRT2 * sigma)) - M_LN2;
  }
  double Second(double i) const {
    const double j = alpha - i;
    return j * log_q + i * log_rest + (j * j - j) / (2 * sigma * sigma) +
           LogErfc((z0 - j) / (M_SQRT2 * sigma)) - M_LN2;
  }
};

double SignedMoment(const Terms& terms) {
  SignedLog first, second;
  Binomials binomials(terms.alpha);
  for (double i = 0;; ++i) {
    const SignedLog choose = binomials.Next();
    const double a = choose.log + terms.First(i), b = choose.log + terms.Second(i);
    first = Plus(first, {a, choose.sign});
    second = Plus(second, {b, choose.sign});
    if (std::max(a, b) < -30) break;
  }
  return Plus(first, second).log;
}

double BoundingMoment(const Terms& terms) {
  double total = kMinusInfinity, last_a = kPlusInfinity, last_b = kPlusInfinity;
  Binomials binomials(terms.alpha);
  for (double i = 0;; ++i) {
    const SignedLog choose = binomials.Next();
    const double a = choose.log + terms.First(i), b = choose.log + terms.Second(i);
    total = LogAdd(total, LogAdd(a, b));
    if (a < last_a && b < last_b && std::max(a, b) < total - 30) break;
    last_a = a;
    last_b = b;
  }
  return total;
}

// ln |B(l)| of Theorem 27 for even l. The alternating sum needs hundreds of digits; it is the
// integral of (1 - exp(x/s^2 - 1/(2 s^2)))^l under N(0, s^2), whose integrand is not negative and
// vanishes fast at both ends, where the trapezoid rule converges faster than any power of its step.
double LogCentralMoment(int64_t l, double sigma) {
  const auto power = static_cast<double>(l);
  const double step = sigma / 64;
  const double precision = 1 / (sigma * sigma);
  double total = kMinusInfinity;
  for (double x = -12 * sigma; x <= power + 12 * sigma; x += step) {
    const double ratio = x * precision - precision / 2;
    const double base =
        ratio > 0 ? ratio + std::log(-std::expm1(-ratio)) : std::log(-std::expm1(ratio));
    total = LogAdd(total, power * base - x * x * precision / 2);
  }
  return total + std::log(step / (sigma * std::sqrt(2 * M_PI)));
}

// (alpha - 1) RDP(alpha) for an integer alpha >= 2.
double FixedSizeMoment(double q, double sigma, int64_t alpha) {
  const auto a = static_cast<double>(alpha);
  const auto eps = [&](double i) { return i / (2 * sigma * sigma); };
  std::map<int64_t, double> moments;
  const auto moment = [&](int64_t l) {
    const auto [at, is_new] = moments.try_emplace(l, 0.0);
    if (is_new) at->second = LogCentralMoment(l, sigma);
    return at->second;
  };
  const double pair = std::min(std::log(4 * std::expm1(eps(2))), M_LN2 + eps(2));
  double total = LogAdd(0, LogChoose(a, 2) + 2 * std::log(q) + pair);
  for (int64_t count = 3; count <= alpha; ++count) {
    const auto j = static_cast<double>(count);
    double factor = M_LN2 + (j - 1) * eps(j);
    if (alpha <= 256) {
      const double both = moment(2 * (count / 2)) + moment(2 * ((count + 1) / 2));
      factor = std::min(factor, std::log(4.0) + both / 2);
    }
    total = LogAdd(total, LogChoose(a, j) + j * std::log(q) + factor);
  }
  return total;
}

}  // namespace

double SampledGaussianRdp(double q, double sigma, double alpha, FractionalSeries series) {
  if (q == 0) return 0;
  if (sigma == 0) return kPlusInfinity;
  if (q == 1) return GaussianRdp(alpha, sigma);
  if (alpha == std::floor(alpha)) return SampledGaussianRdp(q, sigma, static_cast<int64_t>(alpha));
  const Terms terms{.alpha = alpha,
                    .log_q = std::log(q),
                    .log_rest = std::log1p(-q),
                    .sigma = sigma,
                    .z0 = sigma * sigma * std::log(1 / q - 1) + 0.5};
  const double moment =
      series == FractionalSeries::kSigned ? SignedMoment(terms) : BoundingMoment(terms);
  return moment / (alpha - 1);
}

RdpCurve SampledGaussianCurve(double q, double sigma, const std::vector<double>& orders,
                              FractionalSeries series) {
  RdpCurve curve = RdpCurve::Zero(orders);
  for (size_t index = 0; index < orders.size(); ++index) {
    curve.values[index] = SampledGaussianRdp(q, sigma, orders[index], series);
  }
  return curve;
}

double FixedSizeGaussianRdp(double q, double sigma, double alpha) {
  if (q == 0) return 0;
  if (sigma == 0) return kPlusInfinity;
  const double low = std::floor(alpha), part = alpha - low;
  const double below = low < 2 ? 0 : FixedSizeMoment(q, sigma, static_cast<int64_t>(low));
  if (part == 0) return below / (alpha - 1);
  const double above = FixedSizeMoment(q, sigma, static_cast<int64_t>(low) + 1);
  return ((1 - part) * below + part * above) / (alpha - 1);
}

}  // namespace rivulet
