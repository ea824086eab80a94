#pragma once

#include "peft/trainer/training_run.h"
#include "peft/zeroth_order/estimator.h"

namespace rivulet {

// Steps from losses alone (train.estimator other than backprop): memory of inference plus twice the
// trained numbers. Directions are those of the client's root, step s, query q. Nothing is ever
// restored: what is trained is only read while losses are measured, and they are measured on a
// copy. Must not outlive its arguments.
class ZerothOrderRun : public StepRun {
 public:
  ZerothOrderRun(const TrainingRun::Setting& setting, const ParameterSet& global,
                 kernels::Workspace& workspace);

  // StepReport::loss is the mean of the losses measured, grad_norm the root mean square of the
  // slopes, which estimates the norm of the gradient and is what train.max-grad-norm clips.
  absl::StatusOr<StepReport> Step(std::span<const Batch> batches, double learning_rate) override;
  ParameterSet Delta() const override;

 private:
  // Mean loss over the targets of the step with what point_ holds; every call of a step has the
  // same dropout masks.
  absl::StatusOr<double> Loss(std::span<const Batch> batches, int64_t targets);

  const TrainingRun::Setting setting_;
  const ParameterSet& global_;
  kernels::Workspace& workspace_;
  const StepDirections directions_;
  std::vector<float> values_;  // what is trained
  TrainableState point_;       // where losses are measured
  Adaptation adaptation_;      // over point_
  int64_t step_ = 0;
  uint64_t micro_steps_ = 0;  // index of the dropout stream at the step's first micro-batch
};

}  // namespace rivulet
