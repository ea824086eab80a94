#include "aggregation/elementwise_optimizer.h"
#include "aggregation/server_optimizers.h"

namespace rivulet {
namespace {

// FedAdam with v <- v - (1 - b2) delta^2 sign(v - delta^2): v moves by the size of delta^2 alone,
// not by its distance; eta 0.01, b1 0.9, v starting at tau^2.
// Reddi et al. 2021 (arXiv 2003.00295), algorithm 2.
struct FedYogi {
  static constexpr std::string_view kName = "fedyogi";
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
    v -= (1 - beta2) * square * ((v > square) - (v < square));
    return x + learning_rate * m / (std::sqrt(v) + tau);
  }
};

}  // namespace

std::unique_ptr<ServerOptimizer> NewFedYogi(const StrategySection& strategy,
                                            const Manifest& manifest) {
  return NewElementwise(
      FedYogi{LearningRateOr(strategy.server_learning_rate, 0.01),
              Beta1Or(strategy.server_beta1, 0.9), strategy.server_beta2, strategy.server_tau},
      manifest);
}

}  // namespace rivulet
