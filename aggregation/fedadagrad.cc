#include "aggregation/elementwise_optimizer.h"
#include "aggregation/server_optimizers.h"

namespace rivulet {
namespace {

// m <- b1 m + (1 - b1) delta; v <- v + delta^2; x <- x + eta m / (sqrt(v) + tau); eta 0.1, b1 0, v
// starting at tau^2.
// Reddi et al. 2021 (arXiv 2003.00295), algorithm 2.
struct FedAdagrad {
  static constexpr std::string_view kName = "fedadagrad";
  static constexpr size_t kSlots = 2;
  double learning_rate;
  double beta1;
  double tau;

  std::array<OptimizerSlot, kSlots> Slots() const { return {{{"m", 0.0}, {"v", tau * tau}}}; }
  double Move(double x, double delta, double* slot) const {
    double& m = slot[0];
    double& v = slot[1];
    const double square = delta * delta;
    m = beta1 * m + (1 - beta1) * delta;
    v += square;
    return x + learning_rate * m / (std::sqrt(v) + tau);
  }
};

}  // namespace

std::unique_ptr<ServerOptimizer> NewFedAdagrad(const StrategySection& strategy,
                                               const Manifest& manifest) {
  return NewElementwise(FedAdagrad{LearningRateOr(strategy.server_learning_rate, 0.1),
                                   Beta1Or(strategy.server_beta1, 0.0), strategy.server_tau},
                        manifest);
}

}  // namespace rivulet
