#include "peft/zeroth_order/zeroth_order_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "peft/trainer/local_optimizer.h"

namespace rivulet {
namespace {

// Below it, losses that differ by rounding alone would decide how far a step goes.
constexpr double kLeastSpread = 1e-7;

DirectionSettings DirectionsOf(const TrainSection& train) {
  if (train.direction == "gauss") return {DirectionKind::kGauss};
  if (train.direction == "low-rank") return {DirectionKind::kLowRank, train.direction_rank};
  return {DirectionKind::kRademacher};
}

std::vector<float> ValuesOf(const ParameterSet& set) {
  std::vector<float> values;
  for (size_t i = 0; i < set.size(); ++i) {
    values.insert(values.end(), set.floats(i).begin(), set.floats(i).end());
  }
  return values;
}

double RootMeanSquare(std::span<const double> slopes) {
  double squares = 0;
  for (double slope : slopes) squares += slope * slope;
  return std::sqrt(squares / static_cast<double>(slopes.size()));
}

}  // namespace

ZerothOrderRun::ZerothOrderRun(const TrainingRun::Setting& setting, const ParameterSet& global,
                               kernels::Workspace& workspace)
    : setting_(setting),
      global_(global),
      workspace_(workspace),
      directions_(DirectionsOf(*setting.train), setting.root, setting.train->queries,
                  global.manifest()),
      values_(ValuesOf(global)),
      point_(global, TrainableState::Gradient::kNone),
      adaptation_(setting.method->Bind(point_.leaves())) {}

absl::StatusOr<double> ZerothOrderRun::Loss(std::span<const Batch> batches, int64_t targets) {
  const at::NoGradGuard no_grad;
  double loss = 0;
  uint64_t micro_step = micro_steps_;
  for (const Batch& batch : batches) {
    if (batch.targets.size(0) == 0) continue;
    Pass pass = {&workspace_, RandomStream(setting_.root, Purpose::kDropout, micro_step++), false};
    loss += BatchLoss(*setting_.network, batch, setting_.task, adaptation_, pass).loss;
  }
  return loss / static_cast<double>(targets);
}

absl::StatusOr<StepReport> ZerothOrderRun::Step(std::span<const Batch> batches,
                                                double learning_rate) {
  const uint64_t index = static_cast<uint64_t>(step_++);
  RV_ASSIGN_OR_RETURN(const int64_t targets, TargetsOf(batches, step_));
  const TrainSection& train = *setting_.train;
  const Difference difference =
      train.estimator == "central" ? Difference::kCentral : Difference::kOneSided;
  RV_ASSIGN_OR_RETURN(
      const SlopeEstimates measured,
      MeasureSlopes(directions_, difference, train.perturbation, index, values_,
                    {point_.values(), values_.size()}, [&] { return Loss(batches, targets); }));
  micro_steps_ += batches.size();
  const StepReport report = {measured.loss, RootMeanSquare(measured.slopes)};
  double rate = learning_rate * ClipFactor(report.grad_norm, train.max_grad_norm);
  if (train.estimator == "fzoo") rate /= std::max(measured.spread, kLeastSpread);
  Descend(directions_, index, measured.slopes, rate, values_);
  return report;
}

ParameterSet ZerothOrderRun::Delta() const {
  ParameterSet delta(global_.manifest());
  auto value = values_.begin();
  for (size_t i = 0; i < global_.size(); ++i) {
    const std::span<const float> from = global_.floats(i);
    const std::span<float> to = delta.floats(i);
    for (size_t j = 0; j < to.size(); ++j) to[j] = *value++ - from[j];
  }
  return delta;
}

}  // namespace rivulet
