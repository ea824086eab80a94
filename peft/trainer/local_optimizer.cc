#include "peft/trainer/local_optimizer.h"

#include <algorithm>

#include "peft/kernels/optimizer.h"

namespace rivulet {

LocalOptimizer::LocalOptimizer(const TrainSection& train, int64_t n)
    : train_(train), n_(n), first_(n) {
  if (train_.optimizer == "adamw") second_.resize(n);
}

void LocalOptimizer::Step(double learning_rate, float clip, const float* gradient, float* values) {
  ++step_;
  if (train_.optimizer == "adamw") {
    kernels::AdamW({learning_rate, train_.adam_beta1, train_.adam_beta2, train_.adam_epsilon,
                    train_.weight_decay, step_, clip},
                   gradient, values, first_.data(), second_.data(), n_);
    return;
  }
  kernels::Sgd({learning_rate, train_.momentum, train_.weight_decay, step_ == 1, clip}, gradient,
               values, first_.data(), n_);
}

float ClipFactor(double norm, double limit) {
  if (limit <= 0) return 1;
  return static_cast<float>(std::min(1.0, limit / (norm + 1e-6)));
}

}  // namespace rivulet
