#include "peft/zeroth_order/cma_es_run.h"

#include <ATen/ATen.h>

namespace rivulet {

CmaEsRun::CmaEsRun(const RunSetting& setting, const ParameterSet& global,
                   kernels::Workspace& workspace)
    : setting_(setting),
      global_(global),
      workspace_(workspace),
      point_(global, TrainableState::Gradient::kNone),
      adaptation_(setting.method->Bind(point_.leaves())),
      search_({point_.values(), static_cast<size_t>(point_.size())},
              {setting.train->population, setting.train->initial_sigma, setting.root}) {}

double CmaEsRun::Loss(std::span<const Batch> batches, int64_t targets) {
  const at::NoGradGuard no_grad;
  double loss = 0;
  for (const Batch& batch : batches) {
    if (batch.targets.size(0) == 0) continue;
    Pass pass = {&workspace_, std::nullopt, false};
    loss += BatchLoss(*setting_.network, batch, setting_.task, adaptation_, pass).loss;
  }
  return loss / static_cast<double>(targets);
}

absl::StatusOr<StepReport> CmaEsRun::Step(std::span<const Batch> batches,
                                          double /*learning_rate*/) {
  ++step_;
  RV_ASSIGN_OR_RETURN(const int64_t targets, TargetsOf(batches, step_));
  StepReport report;
  std::vector<double> losses;
  for (int k = 0; k < search_.population(); ++k) {
    search_.Candidate(k, {point_.values(), static_cast<size_t>(point_.size())});
    losses.push_back(Loss(batches, targets));
    RV_RETURN_IF_ERROR(CheckFinite("loss", losses.back(), step_));
    report.loss += losses.back() / search_.population();
  }
  search_.Tell(losses);
  return report;
}

absl::StatusOr<ParameterSet> CmaEsRun::Update() const {
  ParameterSet delta(global_.manifest());
  auto mean = search_.mean().begin();
  for (size_t i = 0; i < global_.size(); ++i) {
    const std::span<const float> from = global_.floats(i);
    const std::span<float> to = delta.floats(i);
    for (size_t j = 0; j < to.size(); ++j) to[j] = static_cast<float>(*mean++ - from[j]);
  }
  return delta;
}

}  // namespace rivulet
