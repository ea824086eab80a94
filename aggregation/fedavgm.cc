#include "aggregation/elementwise_optimizer.h"
#include "aggregation/server_optimizers.h"

namespace rivulet {
namespace {

// v <- beta v + delta; x <- x + eta v; beta 0.9, eta 1. Hsu et al. 2019 (arXiv 1909.06335). A sum,
// not the exponential average that some implementations take.
struct FedAvgM {
  static constexpr std::string_view kName = "fedavgm";
  static constexpr size_t kSlots = 1;
  double learning_rate;
  double momentum;

  std::array<OptimizerSlot, kSlots> Slots() const { return {{{"v", 0.0}}}; }
  double Move(double x, double delta, double* slot) const {
    slot[0] = momentum * slot[0] + delta;
    return x + learning_rate * slot[0];
  }
};

}  // namespace

std::unique_ptr<ServerOptimizer> NewFedAvgM(const StrategySection& strategy,
                                            const Manifest& manifest) {
  return NewElementwise(
      FedAvgM{LearningRateOr(strategy.server_learning_rate, 1.0), strategy.server_momentum},
      manifest);
}

}  // namespace rivulet
