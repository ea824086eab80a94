#include "privacy/dp/distributed.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace rivulet {
namespace {

absl::Status BadSession(const char* field, int64_t got, const std::string& want) {
  return Refuse(absl::StatusCode::kInvalidArgument, std::string("session: ") + field + ": got " +
                                                        std::to_string(got) + ", want " + want);
}

// How far a sum of discrete Gaussians may be from one discrete Gaussian, per coordinate.
double SumDistance(double variance, int64_t clients) {
  double tau = 0;
  for (int64_t count = 1; count < clients; ++count) {
    const auto i = static_cast<double>(count);
    tau += std::exp(-2 * M_PI * M_PI * variance * i / (i + 1));
  }
  return 10 * tau;
}

struct Moves {
  double l1, l2;    // of the integer sum, grid steps
  double variance;  // of the noise surely in it
};

Moves MovesOf(const DistributedEvent& event) {
  const double bound = event.norm_bound;
  return {.l1 = bound * std::min(std::sqrt(static_cast<double>(event.values)), bound),
          .l2 = bound,
          .variance = static_cast<double>(event.shares.effective()) * event.local_variance};
}

double DiscreteGaussianRdp(const DistributedEvent& event, double tau, double alpha) {
  const Moves moves = MovesOf(event);
  const double root = std::sqrt(moves.variance);
  const double d1 = moves.l1 / root, d2 = moves.l2 / root;
  const auto d = static_cast<double>(event.values);
  const double far = d2 + std::sqrt(d) * tau;
  return std::min({alpha * d2 * d2 / 2 + tau * d,
                   alpha / 2 * (d2 * d2 + 2 * d1 * tau + tau * tau * d), alpha / 2 * far * far});
}

double SkellamRdp(const DistributedEvent& event, double alpha) {
  const Moves moves = MovesOf(event);
  const double square = moves.l2 * moves.l2, mu = moves.variance;
  return alpha * square / (2 * mu) +
         std::min(((2 * alpha - 1) * square + 6 * moves.l1) / (4 * mu * mu),
                  3 * moves.l1 / (2 * mu));
}

double TauOf(const DistributedEvent& event) {
  return event.noise == DistributedEvent::Noise::kSkellam
             ? 0
             : SumDistance(event.local_variance, event.shares.most());
}

double RdpWithTau(const DistributedEvent& event, double tau, double alpha) {
  return event.noise == DistributedEvent::Noise::kSkellam ? SkellamRdp(event, alpha)
                                                          : DiscreteGaussianRdp(event, tau, alpha);
}

}  // namespace

absl::StatusOr<NoiseShares> SessionShape::Shares() const {
  constexpr int64_t kMost = 1 << 20, kMillion = 1'000'000;
  if (most < 1 || most > kMost) return BadSession("n_max", most, "1..2^20");
  if (least < 1 || least > most) return BadSession("n_min", least, "1..n_max");
  if (corrupt_ppm < 0 || corrupt_ppm >= kMillion) {
    return BadSession("gamma_ppm", corrupt_ppm, "0..999999");
  }
  if (threat == Threat::kMalicious && (threshold < 1 || threshold > most)) {
    return BadSession("t", threshold, "1..n_max");
  }
  if (graph == Graph::kRing && threat == Threat::kMalicious && corrupt_neighbours < 1) {
    return BadSession("c", corrupt_neighbours, "1 or more: at least one neighbour is allowed for");
  }
  // As many as the protocol itself allows for: one in a cohort of few, too.
  const int64_t corrupt =
      corrupt_ppm == 0 ? 0 : std::max<int64_t>(1, corrupt_ppm * most / kMillion);
  int64_t effective = least - corrupt;
  if (threat == Threat::kMalicious) {
    effective = graph == Graph::kRing ? threshold - corrupt_neighbours
                                      : std::max(least, threshold) - corrupt;
  }
  if (effective < 1) return BadSession("n_eff", effective, "at least one honest share of noise");
  return NoiseShares(effective, most);
}

double NormBoundWithBit(double norm_bound, double noise_variance, double z, double z_delta) {
  const double bit = std::max(0.0, 1 / (z * z) - 1 / (z_delta * z_delta));
  return std::sqrt(norm_bound * norm_bound + noise_variance * bit);
}

double DistributedRdp(const DistributedEvent& event, double alpha) {
  return RdpWithTau(event, TauOf(event), alpha);
}

RdpCurve DistributedCurve(const DistributedEvent& event, const std::vector<double>& orders) {
  const double tau = TauOf(event);
  RdpCurve curve = RdpCurve::Zero(orders);
  for (size_t index = 0; index < orders.size(); ++index) {
    curve.values[index] = RdpWithTau(event, tau, orders[index]);
  }
  return curve;
}

}  // namespace rivulet
