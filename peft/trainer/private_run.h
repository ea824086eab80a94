#pragma once

#include <vector>

#include "peft/model/example_gradients.h"
#include "peft/trainer/example_privacy.h"
#include "peft/trainer/training_run.h"

namespace rivulet {

// One client's round under example privacy, step by step: clips every example's gradient over all
// trained tensors together, adds noise once a step and gives the average to the optimiser, which is
// post-processing, as is the proximal term. train.max_grad_norm has no part in it.
//
// An example's gradient is a function of the state and the example alone: its loss is divided by a
// fixed length, and neither padding nor neighbours in a micro-batch change a bit of it. (Norms and
// activations of bert are libtorch's: where a width is no multiple of the vector length, the last
// bit of an activation may depend on its place.) With dropout it depends on its place as well;
// masks are independent and their root is secret, so that one place is as good as another.
//
// Not thread safe. Must not outlive its arguments.
class PrivateRun {
 public:
  // Setting::root must be secret. `loss_length` divides every example's sum of losses. Errors:
  // InvalidArgument naming a tensor that cannot be trained under example privacy.
  static absl::StatusOr<std::unique_ptr<PrivateRun>> Make(const RunSetting& setting,
                                                          const ExamplePrivacy& privacy,
                                                          double loss_length,
                                                          const ParameterSet& global,
                                                          kernels::Workspace& workspace);
  ~PrivateRun();
  PrivateRun(const PrivateRun&) = delete;
  PrivateRun& operator=(const PrivateRun&) = delete;

  // Adds a micro-batch to the current step. Errors: Internal when a loss or gradient is not
  // finite. Throws libtorch's exceptions.
  absl::Status Accumulate(const Batch& batch);
  // Ends the step: noise, division by `batch_size`, optimiser; also without a micro-batch. Returns
  // the norm of the noised average. Errors: those of `noise`.
  absl::StatusOr<double> Finish(GradientNoise& noise, double batch_size, double learning_rate);

  TrainableState& state() { return state_; }
  const ClippedSum& sum() const { return sum_; }  // of the current step

 private:
  PrivateRun(const RunSetting& setting, const ExamplePrivacy& privacy, double loss_length,
             const ParameterSet& global, kernels::Workspace& workspace);
  absl::Status CheckAdaptation() const;

  const RunSetting setting_;
  const double loss_length_;
  const ParameterSet& global_;
  kernels::Workspace& workspace_;
  TrainableState state_;
  Adaptation adaptation_;
  LocalOptimizer optimizer_;
  ExampleGradients gradients_;
  ClippedSum sum_;
  int64_t step_ = 1;
  uint64_t micro_step_ = 0;  // index of the dropout stream
};

}  // namespace rivulet
