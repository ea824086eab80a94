#include "aggregation/elementwise_optimizer.h"
#include "aggregation/server_optimizers.h"

namespace rivulet {
namespace {

// m <- b1 m + (1 - b1) delta; v <- b2 v + (1 - b2) delta^2; x <- x + eta m / (sqrt(v) + tau), with
// v starting at tau^2 and no bias correction; eta 0.1 (1e-3 for LoRA on large models), b1 0.9.
// Reddi et al. 2021 (arXiv 2003.00295), algorithm 2.
struct FedAdam {
  static constexpr std::string_view kName = "fedadam";
  static constexpr size_t kSlots = 2;
  double learning_rate;
  double beta1;
  double beta2;
  double tau;

  std::array<OptimizerSlot, kSlots> Slots() const { return {{{"m", 0.0}, {"v", tau * tau}}}; }
  double Move(double x, double delta, double* slot) const {
    double& m = slot[0];
    double& v = slot[1];
    const double square = delta * delta;
    m = beta1 * m + (1 - beta1) * delta;
    v = beta2 * v + (1 - beta2) * square;
    return x + learning_rate * m / (std::sqrt(v) + tau);
  }
};

}  // namespace

std::unique_ptr<ServerOptimizer> NewFedAdam(const StrategySection& strategy,
                                            const Manifest& manifest) {
  return NewElementwise(
      FedAdam{LearningRateOr(strategy.server_learning_rate, 0.1),
              Beta1Or(strategy.server_beta1, 0.9), strategy.server_beta2, strategy.server_tau},
      manifest);
}

}  // namespace rivulet
