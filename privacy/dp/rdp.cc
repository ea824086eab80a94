#include "privacy/dp/rdp.h"

#include <cmath>
#include <cstdlib>

#include "privacy/dp/log_math.h"

namespace rivulet {
namespace {

constexpr double kLeastOrder = 1.01;  // closer to 1 the conversion loses its digits

// ln k! for k = 0..1024, the binomials of every production order.
const std::vector<double>& LogFactorials() {
  static const std::vector<double> table = [] {
    std::vector<double> sums(1025, 0.0);
    long double sum = 0;
    for (size_t k = 1; k < sums.size(); ++k) {
      sum += logl(static_cast<long double>(k));
      sums[k] = static_cast<double>(sum);
    }
    return sums;
  }();
  return table;
}

double LogChooseInteger(int64_t n, int64_t k) {
  const std::vector<double>& table = LogFactorials();
  if (n < static_cast<int64_t>(table.size())) return table[n] - table[k] - table[n - k];
  return LogChoose(static_cast<double>(n), static_cast<double>(k));
}

}  // namespace

const std::vector<double>& ProductionOrders() {
  static const std::vector<double> orders = [] {
    std::vector<double> list;
    for (int order = 2; order <= 256; ++order) list.push_back(order);
    list.push_back(512);
    list.push_back(1024);
    return list;
  }();
  return orders;
}

RdpCurve RdpCurve::Zero(std::vector<double> orders) {
  RdpCurve curve{.orders = std::move(orders)};
  curve.values.assign(curve.orders.size(), 0.0);
  return curve;
}

void RdpCurve::Add(const RdpCurve& other, double steps) {
  if (orders != other.orders) std::abort();  // values of different orders do not add
  for (size_t index = 0; index < values.size(); ++index) {
    values[index] += steps * other.values[index];
  }
}

double GaussianRdp(double alpha, double sigma) {
  return sigma == 0 ? kPlusInfinity : alpha / (2 * sigma * sigma);
}

double SampledGaussianRdp(double q, double sigma, int64_t alpha) {
  if (q == 0) return 0;
  if (sigma == 0) return kPlusInfinity;
  const auto a = static_cast<double>(alpha);
  if (q == 1) return GaussianRdp(a, sigma);
  const double log_in = std::log(q), log_out = std::log1p(-q);
  const double half_precision = 1 / (2 * sigma * sigma);
  double total = kMinusInfinity;
  for (int64_t count = 0; count <= alpha; ++count) {
    const auto i = static_cast<double>(count);
    total = LogAdd(total, LogChooseInteger(alpha, count) + i * log_in + (a - i) * log_out +
                              (i * i - i) * half_precision);
  }
  return std::max(0.0, total) / (a - 1);
}

RdpCurve SampledGaussianCurve(double q, double sigma, const std::vector<double>& orders) {
  RdpCurve curve = RdpCurve::Zero(orders);
  for (size_t index = 0; index < orders.size(); ++index) {
    curve.values[index] = SampledGaussianRdp(q, sigma, static_cast<int64_t>(orders[index]));
  }
  return curve;
}

RdpEpsilon EpsilonOf(const RdpCurve& curve, double delta) {
  RdpEpsilon best{.epsilon = kPlusInfinity};
  if (!curve.orders.empty()) best.order = curve.orders.front();
  for (size_t index = 0; index < curve.orders.size(); ++index) {
    const double order = curve.orders[index], rdp = curve.values[index];
    double epsilon;
    if (delta * delta + std::expm1(-rdp) > 0) {
      epsilon = 0;  // Bretagnolle-Huber: the total variation distance is already below delta
    } else if (order > kLeastOrder) {
      epsilon = rdp + std::log1p(-1 / order) - std::log(delta * order) / (order - 1);
    } else {
      continue;
    }
    if (epsilon < best.epsilon) best = {.epsilon = epsilon, .order = order};
  }
  best.epsilon = std::max(0.0, best.epsilon);
  best.order_at_end = !curve.orders.empty() &&
                      (best.order == curve.orders.front() || best.order == curve.orders.back());
  return best;
}

double DeltaOf(const RdpCurve& curve, double epsilon) {
  double least = 0;  // of ln delta; delta = 1 says nothing and is always true
  for (size_t index = 0; index < curve.orders.size(); ++index) {
    const double order = curve.orders[index], rdp = curve.values[index];
    if (order <= kLeastOrder) continue;
    least =
        std::min(least, (order - 1) * (rdp - epsilon + std::log1p(-1 / order)) - std::log(order));
  }
  return std::exp(least);
}

}  // namespace rivulet
