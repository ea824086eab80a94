#pragma once

#include <cstdint>

#include "common/status.h"
#include "privacy/dp/events.h"
#include "privacy/dp/rdp.h"

namespace rivulet {

// What a secure-aggregation session guarantees, hence how much noise is surely in its sum.
struct SessionShape {
  enum class Threat { kSemiHonest = 0, kMalicious = 1 };
  enum class Graph { kComplete = 0, kRing = 1 };

  Threat threat = Threat::kMalicious;
  Graph graph = Graph::kComplete;
  int64_t least = 0;               // n_min: no sum with fewer survivors is published
  int64_t most = 0;                // n_max
  int64_t threshold = 0;           // t: shares that open a secret
  int64_t corrupt_ppm = 0;         // gamma in millionths; 0: nobody
  int64_t corrupt_neighbours = 0;  // ring: c of the protocol's table, of one sharing set

  // n_eff: semi-honest n_min - corrupt; malicious, complete max(n_min, t) - corrupt; malicious,
  // ring t - c: a server can cut a ring into arcs, each of which holds no more. corrupt is max(1,
  // floor(gamma n_max)), the protocol's own count (secagg::CorruptClients): not the floor(gamma
  // n_max) of its table of n_eff, which is nobody where n_max < 1 / gamma. Errors: InvalidArgument
  // for numbers that make no session, or no honest share.
  absl::StatusOr<NoiseShares> Shares() const;
};

// Norm bound of the data together with an adaptive-clipping bit in the same sum: the bit, whose
// noise is (z^-2 - z_delta^-2)^(-1/2) times its sensitivity, counts as one more coordinate under
// the data's noise. norm_bound: of the data, grid steps; noise_variance: of all the noise counted
// in one coordinate, grid steps^2; 0 < z <= z_delta. z = z_delta: no bit, norm_bound itself.
double NormBoundWithBit(double norm_bound, double noise_variance, double z, double z_delta);

// RDP of one round with distributed noise at order alpha, in nats. For the discrete Gaussian
//   tau = 10 sum_{i=1}^{n_max-1} exp(-2 pi^2 V i/(i+1)),
//   min( a D2^2/2 + tau d, a/2 (D2^2 + 2 D1 tau + tau^2 d), a/2 (D2 + sqrt(d) tau)^2 )
// with D2 = B/sqrt(n_eff V), D1 = L1/sqrt(n_eff V), L1 = B min(sqrt(d), B). For Skellam
//   a B^2/(2 n_eff V) + min( ((2a-1) B^2 + 6 L1)/(4 (n_eff V)^2), 3 L1/(2 n_eff V) ).
// Source: Kairouz, Liu, Steinke 2021; Agarwal, Kairouz, Liu 2021.
double DistributedRdp(const DistributedEvent& event, double alpha);
RdpCurve DistributedCurve(const DistributedEvent& event,
                          const std::vector<double>& orders = ProductionOrders());

}  // namespace rivulet
