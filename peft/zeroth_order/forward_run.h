#pragma once

#include "peft/trainer/training_run.h"
#include "peft/zeroth_order/zeroth_order_run.h"

namespace rivulet {

// Steps along exact slopes (train.estimator "forward"): a pass of forward-mode differentiation for
// each direction gives the loss and its derivative along it. No activation outlives its layer, but
// the passes are made of plain operations, and each number of them has a tangent beside it. Must
// not outlive its arguments.
// Source: Baydin et al. 2022 (forward gradient), Panchal et al. 2024 (SPRY).
class ForwardRun : public StepRun {
 public:
  ForwardRun(const RunSetting& setting, const ParameterSet& global, StepDirections directions,
             kernels::Workspace& workspace);

  // StepReport::loss is that where the step begins, grad_norm the root mean square of the slopes,
  // which train.max-grad-norm clips.
  absl::StatusOr<StepReport> Step(std::span<const Batch> batches, double learning_rate) override;
  absl::StatusOr<ParameterSet> Update() const override;

 private:
  // Mean over the targets of a step.
  struct Slope {
    double loss = 0, derivative = 0;
  };
  Slope SlopeAlong(uint64_t index, std::span<const Batch> batches, int64_t targets);

  const RunSetting setting_;
  const ParameterSet& global_;
  kernels::Workspace& workspace_;
  StepDirections directions_;
  TrainableState state_;
  TrainableState tangent_;  // z
  int64_t step_ = 0;
  uint64_t micro_steps_ = 0;  // index of the dropout stream at the step's first micro-batch
};

}  // namespace rivulet
