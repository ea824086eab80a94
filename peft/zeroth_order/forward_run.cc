#include "peft/zeroth_order/forward_run.h"

#include <ATen/ATen.h>

#include "peft/model/tangent.h"

namespace rivulet {

ForwardRun::ForwardRun(const RunSetting& setting, const ParameterSet& global,
                       StepDirections directions, kernels::Workspace& workspace)
    : setting_(setting),
      global_(global),
      workspace_(workspace),
      directions_(std::move(directions)),
      state_(global, TrainableState::Gradient::kNone),
      tangent_(global, TrainableState::Gradient::kNone) {}

ForwardRun::Slope ForwardRun::SlopeAlong(uint64_t index, std::span<const Batch> batches,
                                         int64_t targets) {
  const at::NoGradGuard no_grad;
  const std::span<float> z(tangent_.values(), static_cast<size_t>(tangent_.size()));
  std::fill(z.begin(), z.end(), 0.0f);
  directions_.all().Perturb(index, 1, z, z);
  std::vector<at::Tensor> leaves;
  for (size_t i = 0; i < state_.leaves().size(); ++i) {
    leaves.push_back(WithTangent(state_.leaves()[i], tangent_.leaves()[i]));
  }
  const Adaptation adaptation = setting_.method->Bind(leaves);
  Slope slope;
  uint64_t micro_step = micro_steps_;
  for (const Batch& batch : batches) {
    if (batch.targets.size(0) == 0) continue;
    Pass pass = {&workspace_, RandomStream(setting_.root, Purpose::kDropout, micro_step++), false};
    const LossSums sums = BatchLoss(*setting_.network, batch, setting_.task, adaptation, pass);
    const double share = static_cast<double>(batch.targets.size(0)) / static_cast<double>(targets);
    slope.loss += sums.loss / static_cast<double>(targets);
    const at::Tensor tangent = TangentOf(sums.mean);
    TORCH_CHECK(tangent.defined(), "an operation of the model has no forward derivative");
    slope.derivative += share * tangent.item<double>();
  }
  return slope;
}

absl::StatusOr<StepReport> ForwardRun::Step(std::span<const Batch> batches, double learning_rate) {
  RV_ASSIGN_OR_RETURN(const int64_t targets, TargetsOf(batches, ++step_));
  const std::vector<uint64_t> indices = directions_.Next();
  StepReport report;
  std::vector<double> slopes;
  for (const uint64_t index : indices) {
    const Slope slope = SlopeAlong(index, batches, targets);
    RV_RETURN_IF_ERROR(CheckFinite("loss", slope.loss, step_));
    RV_RETURN_IF_ERROR(CheckFinite("slope", slope.derivative, step_));
    report.loss = slope.loss;
    slopes.push_back(slope.derivative);
  }
  micro_steps_ += batches.size();
  report.grad_norm = RootMeanSquare(slopes);
  const double rate =
      directions_.Clipped(learning_rate, report.grad_norm, setting_.train->max_grad_norm);
  directions_.Descend(indices, std::move(slopes), rate,
                      {state_.values(), static_cast<size_t>(state_.size())});
  return report;
}

absl::StatusOr<ParameterSet> ForwardRun::Update() const {
  return directions_.Update([this] { return state_.DeltaFrom(global_); });
}

}  // namespace rivulet
