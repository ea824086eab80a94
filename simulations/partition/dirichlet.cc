#include "simulations/partition/dirichlet.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rivulet {
namespace {

// Uniform in (0, 1), 53 bits.
double OpenUnit(RandomCursor& cursor) {
  const uint64_t high = cursor.Next() >> 5, low = cursor.Next() >> 6;
  return (static_cast<double>(high << 26 | low) + 0.5) * 0x1p-53;
}

double Normal(RandomCursor& cursor) {
  const double radius = std::sqrt(-2 * std::log(OpenUnit(cursor)));
  return radius * std::cos(2 * std::numbers::pi * OpenUnit(cursor));
}

// ln of a gamma variate, shape >= 1.
double LogGammaFromOne(double shape, RandomCursor& cursor) {
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = Normal(cursor);
    const double cube = 1 + c * x;
    if (cube <= 0) continue;
    const double v = cube * cube * cube;
    if (std::log(OpenUnit(cursor)) < 0.5 * x * x + d - d * v + d * std::log(v)) {
      return std::log(d) + std::log(v);
    }
  }
}

// gamma(a) = gamma(a + 1) U^(1/a).
double LogGamma(double shape, RandomCursor& cursor) {
  if (shape >= 1) return LogGammaFromOne(shape, cursor);
  const double larger = LogGammaFromOne(shape + 1, cursor);
  return larger + std::log(OpenUnit(cursor)) / shape;
}

// A client's share of each class, renormalised over the classes that are left. When rounding left
// none of those a share, the items left decide.
uint32_t DrawClass(const std::vector<double>& shares,
                   const std::vector<std::vector<uint32_t>>& left, RandomCursor& cursor) {
  double total = 0, items = 0;
  for (size_t k = 0; k < left.size(); ++k) {
    if (!left[k].empty()) total += shares[k];
    items += static_cast<double>(left[k].size());
  }
  const bool by_share = total > 0;
  double point = OpenUnit(cursor) * (by_share ? total : items);
  uint32_t last = 0;
  for (size_t k = 0; k < left.size(); ++k) {
    if (left[k].empty()) continue;
    const double weight = by_share ? shares[k] : static_cast<double>(left[k].size());
    if (weight > 0) last = static_cast<uint32_t>(k);
    point -= weight;
    if (point < 0) break;
  }
  return last;
}

}  // namespace

std::vector<double> DrawDirichlet(std::span<const double> concentration, RandomCursor& cursor) {
  std::vector<double> shares;
  for (double shape : concentration) shares.push_back(LogGamma(shape, cursor));
  const double largest = *std::max_element(shares.begin(), shares.end());
  double total = 0;
  for (double& share : shares) total += share = std::exp(share - largest);
  for (double& share : shares) share /= total;
  return shares;
}

std::vector<std::vector<uint32_t>> SplitByDirichlet(std::span<const uint32_t> class_of,
                                                    uint32_t classes, uint32_t clients,
                                                    double alpha, RandomCursor& cursor) {
  std::vector<std::vector<uint32_t>> left(classes);
  for (uint32_t item = 0; item < class_of.size(); ++item) left[class_of[item]].push_back(item);
  std::vector<double> concentration;
  for (auto& items : left) {
    const double prior = static_cast<double>(items.size()) / static_cast<double>(class_of.size());
    concentration.push_back(std::max(alpha * prior, 1e-9));
    Shuffle(cursor, std::span<uint32_t>(items));
  }
  std::vector<std::vector<double>> shares;
  for (uint32_t client = 0; client < clients; ++client) {
    shares.push_back(DrawDirichlet(concentration, cursor));
  }
  std::vector<std::vector<uint32_t>> out(clients);
  for (size_t turn = 0; turn < class_of.size(); ++turn) {
    const size_t client = turn % clients;
    std::vector<uint32_t>& items = left[DrawClass(shares[client], left, cursor)];
    out[client].push_back(items.back());
    items.pop_back();
  }
  // The last turns draw from what is left, often one class: a held-out tail would be that class.
  for (std::vector<uint32_t>& part : out) Shuffle(cursor, std::span<uint32_t>(part));
  return out;
}

}  // namespace rivulet
