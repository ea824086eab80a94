#pragma once

#include "peft/trainer/training_run.h"
#include "peft/zeroth_order/cma_es.h"

namespace rivulet {

// A client's round as a search (train.estimator "cma-es"): each step measures the loss of
// train.population candidates on the step's batch, by inference alone and without dropout, as a
// client that sees logits and nothing else would. What is trained is the mean; step size and
// covariance begin anew every round. Candidates are those of the client's root. Must not outlive
// its arguments.
class CmaEsRun : public StepRun {
 public:
  CmaEsRun(const RunSetting& setting, const ParameterSet& global, kernels::Workspace& workspace);

  // StepReport::loss is the mean of the candidates' losses, grad_norm 0. The learning rate has no
  // part in it. Errors: Internal for a loss that is not finite.
  absl::StatusOr<StepReport> Step(std::span<const Batch> batches, double learning_rate) override;
  absl::StatusOr<ParameterSet> Update() const override;

 private:
  // Mean loss over the targets of the step with what point_ holds.
  double Loss(std::span<const Batch> batches, int64_t targets);

  const RunSetting setting_;
  const ParameterSet& global_;
  kernels::Workspace& workspace_;
  TrainableState point_;   // where losses are measured
  Adaptation adaptation_;  // over point_
  CmaEs search_;
  int64_t step_ = 0;
};

}  // namespace rivulet
