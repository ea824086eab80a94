#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"

namespace rivulet {

// Orders 2..256, 512, 1024: what production accounts with.
const std::vector<double>& ProductionOrders();

// Renyi divergence in nats at each of a list of orders.
struct RdpCurve {
  std::vector<double> orders;
  std::vector<double> values;

  static RdpCurve Zero(std::vector<double> orders = ProductionOrders());
  // this += steps * other; the lists of orders must be equal (aborts otherwise).
  void Add(const RdpCurve& other, double steps = 1);
};

// alpha / (2 sigma^2): one Gaussian release (Mironov 2017, Corollary 3). alpha > 1; sigma = 0 gives
// infinity.
double GaussianRdp(double alpha, double sigma);

// One Poisson-subsampled Gaussian release at an integer order alpha >= 2, in nats:
//   ln( sum_i C(alpha,i) q^i (1-q)^(alpha-i) exp((i^2-i)/(2 sigma^2)) ) / (alpha - 1)
// q in 0..1, sigma >= 0; q = 0 gives 0, q = 1 the Gaussian, sigma = 0 infinity (q > 0).
// Source: Mironov, Talwar, Zhang 2019, equation 3.
double SampledGaussianRdp(double q, double sigma, int64_t alpha);

// The same at an order that need not be an integer. Two published series that disagree; production
// uses neither. kSigned: generalised binomials with their sign (Opacus). kBounding: absolute
// values, an upper bound (dp_accounting). For checking foreign statements.
enum class FractionalSeries { kSigned, kBounding };
double SampledGaussianRdp(double q, double sigma, double alpha, FractionalSeries series);

// The whole curve at integer orders / at any orders.
RdpCurve SampledGaussianCurve(double q, double sigma,
                              const std::vector<double>& orders = ProductionOrders());
RdpCurve SampledGaussianCurve(double q, double sigma, const std::vector<double>& orders,
                              FractionalSeries series);

// One release of a Gaussian over a sample of fixed size without replacement, relation ReplaceOne,
// sigma relative to the sensitivity of one contribution. For checking foreign statements only: no
// event carries it. Source: Wang, Balle, Kasiviswanathan 2019, Theorem 27. alpha > 1.
double FixedSizeGaussianRdp(double q, double sigma, double alpha);

struct RdpEpsilon {
  double epsilon = 0;
  double order = 0;
  bool order_at_end = false;  // first or last of the list
};

// Canonne, Kamath, Steinke 2020, Proposition 12: the least over orders > 1.01 of
// rdp + log1p(-1/a) - ln(delta a)/(a-1), at least 0. 0 < delta < 1.
RdpEpsilon EpsilonOf(const RdpCurve& curve, double delta);
// The inverse: the least delta over orders for an epsilon >= 0; at most 1.
double DeltaOf(const RdpCurve& curve, double epsilon);

}  // namespace rivulet
