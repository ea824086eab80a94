#include "peft/trainer/training_run.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "peft/kernels/optimizer.h"

namespace rivulet {
absl::StatusOr<int64_t> TargetsOf(std::span<const Batch> batches, int64_t step) {
  int64_t total = 0;
  for (const Batch& batch : batches) total += batch.targets.size(0);
  if (total > 0) return total;
  return Refuse(absl::StatusCode::kInvalidArgument,
                "step " + std::to_string(step) + ": got no position with a target, want one");
}

absl::Status CheckFinite(std::string_view what, double value, int64_t step) {
  if (std::isfinite(value)) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInternal, std::string(what) + ": got " + std::to_string(value) +
                                                 " in step " + std::to_string(step) +
                                                 ", want a finite number");
}

GradientPass::GradientPass(const RunSetting& setting, const ParameterSet& global,
                           kernels::Workspace& workspace)
    : setting_(setting),
      global_(global),
      workspace_(workspace),
      state_(global),
      adaptation_(setting.method->Bind(state_.leaves())) {}

absl::StatusOr<StepReport> GradientPass::Compute(std::span<const Batch> batches) {
  ++step_;
  RV_ASSIGN_OR_RETURN(const int64_t targets, TargetsOf(batches, step_));
  state_.ClearGradient();
  StepReport report;
  for (const Batch& batch : batches) {
    if (batch.targets.size(0) == 0) continue;
    Pass pass = {&workspace_, RandomStream(setting_.root, Purpose::kDropout, micro_step_++),
                 setting_.checkpointing};
    const LossSums sums = BatchLoss(*setting_.network, batch, setting_.task, adaptation_, pass);
    RV_RETURN_IF_ERROR(CheckFinite("loss", sums.loss, step_));
    const double share = static_cast<double>(batch.targets.size(0)) / static_cast<double>(targets);
    torch::autograd::backward({sums.mean}, {at::scalar_tensor(share, at::kFloat)});
    report.loss += sums.loss / static_cast<double>(targets);
  }
  if (setting_.train->proximal_mu > 0) state_.AddProximal(global_, setting_.train->proximal_mu);
  report.grad_norm = std::sqrt(kernels::SumOfSquares(state_.gradient(), state_.size()));
  RV_RETURN_IF_ERROR(CheckFinite("gradient norm", report.grad_norm, step_));
  return report;
}

TrainingRun::TrainingRun(const RunSetting& setting, const ParameterSet& global,
                         kernels::Workspace& workspace)
    : setting_(setting),
      global_(global),
      gradient_(setting, global, workspace),
      optimizer_(*setting.train, gradient_.state().size()) {}

absl::StatusOr<StepReport> TrainingRun::Step(std::span<const Batch> batches, double learning_rate) {
  RV_ASSIGN_OR_RETURN(const StepReport report, gradient_.Compute(batches));
  optimizer_.Step(learning_rate, ClipFactor(report.grad_norm, setting_.train->max_grad_norm),
                  state().gradient(), state().values());
  return report;
}

}  // namespace rivulet
