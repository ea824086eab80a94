#include "peft/trainer/private_run.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "peft/kernels/optimizer.h"
#include "peft/model/lanes.h"

namespace rivulet {

PrivateRun::PrivateRun(const RunSetting& setting, const ExamplePrivacy& privacy, double loss_length,
                       const ParameterSet& global, kernels::Workspace& workspace)
    : setting_(setting),
      loss_length_(loss_length),
      global_(global),
      workspace_(workspace),
      state_(global),
      adaptation_(setting.method->Bind(state_.leaves())),
      optimizer_(*setting.train, state_.size()),
      gradients_(state_.values(), state_.size(), workspace),
      sum_(privacy, state_.size()) {
  workspace_.steady = true;
}

PrivateRun::~PrivateRun() { workspace_.steady = false; }

absl::StatusOr<std::unique_ptr<PrivateRun>> PrivateRun::Make(const RunSetting& setting,
                                                             const ExamplePrivacy& privacy,
                                                             double loss_length,
                                                             const ParameterSet& global,
                                                             kernels::Workspace& workspace) {
  RV_RETURN_IF_ERROR(CheckExamplePrivacy(privacy));
  std::unique_ptr<PrivateRun> run(new PrivateRun(setting, privacy, loss_length, global, workspace));
  RV_RETURN_IF_ERROR(run->CheckAdaptation());
  return run;
}

absl::Status PrivateRun::CheckAdaptation() const {
  if (adaptation_.prompt) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "prompt: got one under example privacy, where its gradient is not known example "
                  "by example; want low-rank factors or bottlenecks");
  }
  for (const auto& [name, tensor] : adaptation_.replaced) {
    if (IsClassifierTensor(name)) continue;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  name +
                      ": got it trained whole, want low-rank factors, bottlenecks and heads of "
                      "classification alone under example privacy");
  }
  return absl::OkStatus();
}

absl::Status PrivateRun::Accumulate(const Batch& batch) {
  if (batch.targets.size(0) == 0) return absl::OkStatus();
  gradients_.Begin({batch.counts.data_ptr<int32_t>(), static_cast<size_t>(batch.size)},
                   batch.length);
  Pass pass = {&workspace_, RandomStream(setting_.root, Purpose::kDropout, micro_step_++),
               setting_.checkpointing, &gradients_};
  const LossSums sums =
      BatchLoss(*setting_.network, batch, setting_.task, adaptation_, pass, loss_length_);
  RV_RETURN_IF_ERROR(CheckFinite("loss", sums.loss, step_));
  torch::autograd::backward({sums.mean});
  if (kernels::SumOfSquares(state_.gradient(), state_.size()) != 0) {
    return Refuse(absl::StatusCode::kInternal,
                  "example privacy: a trained tensor got its gradient past the clipping");
  }
  for (int64_t example = 0; example < gradients_.examples(); ++example) {
    const absl::Status added = sum_.Add(gradients_.Of(example));
    if (!added.ok()) return Annotate(added, "step " + std::to_string(step_));
  }
  return absl::OkStatus();
}

absl::StatusOr<double> PrivateRun::Finish(GradientNoise& noise, double batch_size,
                                          double learning_rate) {
  RV_RETURN_IF_ERROR(sum_.AddNoise(noise));
  sum_.Average(batch_size, {state_.gradient(), static_cast<size_t>(state_.size())});
  if (setting_.train->proximal_mu > 0) {
    state_.AddProximal(global_, setting_.train->proximal_mu);
  }
  const double norm = std::sqrt(kernels::SumOfSquares(state_.gradient(), state_.size()));
  RV_RETURN_IF_ERROR(CheckFinite("gradient norm", norm, step_));
  optimizer_.Step(learning_rate, 1, state_.gradient(), state_.values());
  state_.ClearGradient();
  sum_.Clear();
  ++step_;
  return norm;
}

}  // namespace rivulet
