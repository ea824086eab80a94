#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "common/random.h"
#include "peft/method/method.h"
#include "peft/model/network.h"
#include "peft/trainer/local_optimizer.h"
#include "peft/trainer/trainable_state.h"

namespace rivulet {

struct StepReport {
  double loss = 0;       // mean over the targets of the step, nats
  double grad_norm = 0;  // before clipping
};

// Internal when `value` is not finite, naming it and the step.
absl::Status CheckFinite(std::string_view what, double value, int64_t step);

// One client's round, step by step. Not thread safe.
class StepRun {
 public:
  virtual ~StepRun() = default;
  // One optimiser step over micro-batches, weighted by their targets, so that accumulating equals
  // one larger batch. Errors: Internal when what it computes is not finite, InvalidArgument when no
  // position has a target. Throws libtorch's exceptions.
  virtual absl::StatusOr<StepReport> Step(std::span<const Batch> batches, double learning_rate) = 0;
  // What goes up: trained minus received, or with [scalars] the coefficients of the directions
  // moved along. Errors: those of ScalarTally::Update.
  virtual absl::StatusOr<ParameterSet> Update() const = 0;
};

// Targets of a step. Errors: InvalidArgument, naming the step, when there is none.
absl::StatusOr<int64_t> TargetsOf(std::span<const Batch> batches, int64_t step);

// What a client's round reads; everything but the root is frozen and shared.
struct RunSetting {
  const Network* network;
  const Method* method;
  Task task;
  const TrainSection* train;
  bool checkpointing = false;
  uint64_t root = 0;  // of every random choice of this client in this round
};

// Gradients of one client's batches at what it has trained so far. Must not outlive its arguments.
class GradientPass {
 public:
  GradientPass(const RunSetting& setting, const ParameterSet& global,
               kernels::Workspace& workspace);

  // The gradient of a step's mean loss, in state().gradient(); StepReport::grad_norm is its norm.
  // Errors and exceptions: those of StepRun::Step.
  absl::StatusOr<StepReport> Compute(std::span<const Batch> batches);

  TrainableState& state() { return state_; }
  const TrainableState& state() const { return state_; }

 private:
  RunSetting setting_;
  const ParameterSet& global_;
  kernels::Workspace& workspace_;
  TrainableState state_;
  Adaptation adaptation_;
  int64_t step_ = 0;
  uint64_t micro_step_ = 0;  // index of the dropout stream
};

// Steps by backpropagation: state, optimiser, dropout. Must not outlive its arguments.
class TrainingRun : public StepRun {
 public:
  TrainingRun(const RunSetting& setting, const ParameterSet& global, kernels::Workspace& workspace);

  absl::StatusOr<StepReport> Step(std::span<const Batch> batches, double learning_rate) override;
  absl::StatusOr<ParameterSet> Update() const override { return state().DeltaFrom(global_); }

  TrainableState& state() { return gradient_.state(); }
  const TrainableState& state() const { return gradient_.state(); }

 private:
  const RunSetting setting_;
  const ParameterSet& global_;
  GradientPass gradient_;
  LocalOptimizer optimizer_;
};

}  // namespace rivulet
