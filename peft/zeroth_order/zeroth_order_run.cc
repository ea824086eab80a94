#include "peft/zeroth_order/zeroth_order_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "peft/model/lanes.h"
#include "peft/trainer/local_optimizer.h"

namespace rivulet {
namespace {

// Below it, losses that differ by rounding alone would decide how far a step goes.
constexpr double kLeastSpread = 1e-7;
// Below this share of the differences themselves, losses that agree by chance would.
constexpr double kLeastShare = 0.01;
// The same of queries apart, of their differences' root mean square: those of the few examples that
// end a pass over the data agree by chance, and one alone always does.
constexpr double kLeastApart = 0.5;

bool IsCentral(const std::string& estimator) {
  return estimator == "central" || estimator == "grzo";
}

}  // namespace

double RootMeanSquare(std::span<const double> slopes) {
  double squares = 0;
  for (double slope : slopes) squares += slope * slope;
  return std::sqrt(squares / static_cast<double>(slopes.size()));
}

StepDirections::StepDirections(const TrainSection& train, uint64_t client_root,
                               const Manifest& trained, std::optional<ScalarTally> tally)
    : queries_(train.queries), votes_(tally && tally->form().votes()), tally_(std::move(tally)) {
  if (!tally_) own_.emplace(DirectionSettingsOf(train), client_root, trained);
}

std::vector<uint64_t> StepDirections::Next() {
  return tally_ ? tally_->Next() : IndicesOf(step_++, queries_);
}

double StepDirections::Clipped(double rate, double grad_norm, double max_grad_norm) const {
  return votes_ ? rate : rate * ClipFactor(grad_norm, max_grad_norm);
}

std::vector<double> StepDirections::Decide(std::span<const uint64_t> indices,
                                           std::vector<double> slopes, double rate) {
  if (votes_) {
    for (double& slope : slopes) slope = (slope > 0) - (slope < 0);
  }
  std::vector<double> movements = DescentOf(slopes, rate);
  if (tally_) tally_->Add(indices, movements);
  return movements;
}

void StepDirections::Descend(std::span<const uint64_t> indices, std::vector<double> slopes,
                             double rate, std::span<float> values) {
  MoveAlong(all(), indices, Decide(indices, std::move(slopes), rate), values);
}

absl::StatusOr<ParameterSet> StepDirections::Update(
    const std::function<ParameterSet()>& delta) const {
  if (tally_) return tally_->Update();
  return delta();
}

ZerothOrderRun::ZerothOrderRun(const RunSetting& setting, const ParameterSet& global,
                               ParameterSet* spent, StepDirections directions,
                               kernels::Workspace& workspace)
    : setting_(setting),
      global_(global),
      workspace_(workspace),
      directions_(std::move(directions)),
      walked_(directions_.notes() ? spent : nullptr),  // else the update needs both
      difference_(IsCentral(setting.train->estimator) ? Difference::kCentral
                                                      : Difference::kOneSided),
      together_(PointsOfPass(difference_, setting.train->batched_queries, setting.train->queries)),
      points_(MakePoints(*setting.method, *setting.train, setting.network->base().config(),
                         directions_.all(), together_)) {}

void ZerothOrderRun::Move() {
  if (decided_.empty()) return;
  if (walked_ == nullptr) walked_ = &copy_.emplace(global_);
  std::vector<std::span<float>> tensors;
  for (size_t i = 0; i < walked_->size(); ++i) tensors.push_back(walked_->floats(i));
  MoveAlong(directions_.all(), decided_along_, decided_, tensors);
  decided_.clear();
}

std::vector<double> ZerothOrderRun::Losses(std::span<const Batch> batches, int64_t targets,
                                           std::span<const EvaluationPoint> points) {
  const at::NoGradGuard no_grad;
  const Adaptation adaptation = points_->At(state(), points);
  std::vector<double> losses(points.size());
  uint64_t micro_step = micro_steps_;
  for (const Batch& batch : batches) {
    if (batch.targets.size(0) == 0) continue;
    Pass pass = {&workspace_, RandomStream(setting_.root, Purpose::kDropout, micro_step++), false};
    pass.lanes = static_cast<int64_t>(points.size());
    const std::vector<double> sums =
        pass.lanes > 1
            ? LaneLosses(*setting_.network, batch, setting_.task, adaptation, pass)
            : std::vector{
                  BatchLoss(*setting_.network, batch, setting_.task, adaptation, pass).loss};
    for (size_t lane = 0; lane < losses.size(); ++lane) losses[lane] += sums[lane];
  }
  for (double& loss : losses) loss /= static_cast<double>(targets);
  return losses;
}

absl::StatusOr<SlopeEstimates> ZerothOrderRun::MeasureApart(std::span<const Batch> batches,
                                                            int64_t targets,
                                                            std::span<const uint64_t> indices) {
  SlopeEstimates all;
  std::vector<double> differences;
  for (size_t query = 0; query < indices.size(); ++query) {
    all.slopes.push_back(0);
    if (query >= batches.size()) continue;  // the end of a pass over the data
    const auto own = batches.subspan(query, 1);
    if (const int64_t count = own[0].targets.size(0); count > 0) {
      RV_ASSIGN_OR_RETURN(
          const SlopeEstimates one,
          MeasureSlopes(
              difference_, setting_.train->perturbation, indices.subspan(query, 1), together_,
              [&](std::span<const EvaluationPoint> points) { return Losses(own, count, points); }));
      all.slopes.back() = one.slopes[0];
      all.loss += one.loss * static_cast<double>(count) / static_cast<double>(targets);
      differences.push_back(2 * setting_.train->perturbation * one.slopes[0]);
    }
    ++micro_steps_;
  }
  const double least = differences.empty() ? 0 : kLeastApart * RootMeanSquare(differences);
  all.spread = std::max(PopulationDeviation(differences), least);
  return all;
}

absl::StatusOr<StepReport> ZerothOrderRun::Step(std::span<const Batch> batches,
                                                double learning_rate) {
  RV_ASSIGN_OR_RETURN(const int64_t targets, TargetsOf(batches, ++step_));
  Move();
  const TrainSection& train = *setting_.train;
  const std::vector<uint64_t> indices = directions_.Next();
  const bool apart = train.estimator == "grzo";
  absl::StatusOr<SlopeEstimates> measured =
      apart ? MeasureApart(batches, targets, indices)
            : MeasureSlopes(difference_, train.perturbation, indices, together_,
                            [&](std::span<const EvaluationPoint> points) {
                              return Losses(batches, targets, points);
                            });
  if (!measured.ok()) return Annotate(measured.status(), "step " + std::to_string(step_));
  if (!apart) micro_steps_ += batches.size();
  const StepReport report = {measured->loss, RootMeanSquare(measured->slopes)};
  double rate = learning_rate;
  if (apart || train.estimator == "fzoo") {
    const double usual = train.perturbation * report.grad_norm;  // of a difference of losses
    rate /= std::max({measured->spread, kLeastSpread, kLeastShare * usual});
  } else {
    rate = directions_.Clipped(rate, report.grad_norm, train.max_grad_norm);
  }
  decided_ = directions_.Decide(indices, std::move(measured->slopes), rate);
  decided_along_ = indices;
  if (!directions_.notes()) Move();
  return report;
}

absl::StatusOr<ParameterSet> ZerothOrderRun::Update() const {
  return directions_.Update([this] {
    ParameterSet delta = state();
    for (size_t i = 0; i < delta.size(); ++i) {
      const std::span<const float> from = global_.floats(i);
      const std::span<float> to = delta.floats(i);
      for (size_t j = 0; j < to.size(); ++j) to[j] -= from[j];
    }
    return delta;
  });
}

ProjectedRun::ProjectedRun(const RunSetting& setting, const ParameterSet& global,
                           StepDirections directions, kernels::Workspace& workspace)
    : setting_(setting),
      global_(global),
      gradient_(setting, global, workspace),
      directions_(std::move(directions)) {}

absl::StatusOr<StepReport> ProjectedRun::Step(std::span<const Batch> batches,
                                              double learning_rate) {
  RV_ASSIGN_OR_RETURN(StepReport report, gradient_.Compute(batches));
  TrainableState& state = gradient_.state();
  const auto size = static_cast<size_t>(state.size());
  const std::vector<uint64_t> indices = directions_.Next();
  std::vector<double> slopes =
      ProjectGradient(directions_.all(), indices, {state.gradient(), size});
  report.grad_norm = RootMeanSquare(slopes);
  const double rate =
      directions_.Clipped(learning_rate, report.grad_norm, setting_.train->max_grad_norm);
  directions_.Descend(indices, std::move(slopes), rate, {state.values(), size});
  return report;
}

absl::StatusOr<ParameterSet> ProjectedRun::Update() const {
  return directions_.Update([this] { return gradient_.state().DeltaFrom(global_); });
}

}  // namespace rivulet
