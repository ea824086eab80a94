#include "aggregation/elementwise_optimizer.h"
#include "aggregation/server_optimizers.h"

namespace rivulet {
namespace {

// x <- x + eta delta, eta 1. McMahan et al. 2017 (arXiv 1602.05629).
struct FedAvg {
  static constexpr std::string_view kName = "fedavg";
  static constexpr size_t kSlots = 0;
  double learning_rate;

  std::array<OptimizerSlot, kSlots> Slots() const { return {}; }
  double Move(double x, double delta, double*) const { return x + learning_rate * delta; }
};

}  // namespace

std::unique_ptr<ServerOptimizer> NewFedAvg(const StrategySection& strategy,
                                           const Manifest& manifest) {
  return NewElementwise(FedAvg{LearningRateOr(strategy.server_learning_rate, 1.0)}, manifest);
}

}  // namespace rivulet
