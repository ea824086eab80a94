#pragma once

#include <functional>
#include <optional>

#include "common/scalars/scalar_tally.h"
#include "peft/trainer/training_run.h"
#include "peft/zeroth_order/estimator.h"
#include "peft/zeroth_order/model_points.h"

namespace rivulet {

// Which directions a client's steps take: its own, or those that all clients of the round share,
// where what moves along them is noted. Not thread safe.
class StepDirections {
 public:
  // `tally`: of a job with [scalars], else empty. `client_root` as of RunSetting.
  StepDirections(const TrainSection& train, uint64_t client_root, const Manifest& trained,
                 std::optional<ScalarTally> tally);

  const Directions& all() const { return own_ ? *own_ : tally_->directions(); }
  std::vector<uint64_t> Next();
  // `rate` clipped by the norm of a step's slopes (train.max-grad-norm), but for votes: were a step
  // shorter for a steep slope, a client would not walk as the global state does.
  double Clipped(double rate, double grad_norm, double max_grad_norm) const;
  // By how much `slopes` of the step with these `indices` ask to move along each at this rate. From
  // here on noted, where moves are.
  std::vector<double> Decide(std::span<const uint64_t> indices, std::vector<double> slopes,
                             double rate);
  // Decides, and moves `values`.
  void Descend(std::span<const uint64_t> indices, std::vector<double> slopes, double rate,
               std::span<float> values);
  // Whether what goes up is what was noted, so that it does not matter what the state became.
  bool notes() const { return tally_.has_value(); }
  // What goes up; else `delta`, trained minus received. Errors: those of ScalarTally::Update.
  absl::StatusOr<ParameterSet> Update(const std::function<ParameterSet()>& delta) const;

 private:
  const int queries_;
  const bool votes_;
  uint64_t step_ = 0;
  std::optional<ScalarTally> tally_;
  std::optional<Directions> own_;  // without a tally
};

double RootMeanSquare(std::span<const double> slopes);

// Steps from differences of losses (train.estimator): memory of inference plus what ModelPoints
// needs, and from the second step on a copy of the trained numbers, unless they are spent. Nothing
// is ever restored: what is trained is only read while losses are measured. Must not outlive its
// arguments.
class ZerothOrderRun : public StepRun {
 public:
  // `spent`: as of TuneRequest.
  ZerothOrderRun(const RunSetting& setting, const ParameterSet& global, ParameterSet* spent,
                 StepDirections directions, kernels::Workspace& workspace);

  // StepReport::loss is the mean of the losses measured, grad_norm the root mean square of the
  // slopes, which estimates the norm of the gradient and is what train.max-grad-norm clips where
  // steps have a length of their own: neither fzoo's and grzo's nor votes.
  absl::StatusOr<StepReport> Step(std::span<const Batch> batches, double learning_rate) override;
  absl::StatusOr<ParameterSet> Update() const override;

 private:
  // Where the steps that were made lead.
  const ParameterSet& state() const { return walked_ != nullptr ? *walked_ : global_; }
  // Makes the step that is decided.
  void Move();

  // Mean losses over the targets of the step, measured in one pass; every call of a step has the
  // same dropout masks.
  std::vector<double> Losses(std::span<const Batch> batches, int64_t targets,
                             std::span<const EvaluationPoint> points);

  // Of a step whose queries see a micro-batch each (GRZO): the spread is that of the differences,
  // at least half of their root mean square. A query without a micro-batch, or on one without
  // targets, has the slope 0.
  absl::StatusOr<SlopeEstimates> MeasureApart(std::span<const Batch> batches, int64_t targets,
                                              std::span<const uint64_t> indices);

  const RunSetting setting_;
  const ParameterSet& global_;
  kernels::Workspace& workspace_;
  StepDirections directions_;
  std::optional<ParameterSet> copy_;
  ParameterSet* walked_;  // the copy, or what is spent; null as long as no step was made
  // Of the last step, which is made when the next one is measured: where moves are noted, that of
  // the last step of a round is never needed.
  std::vector<uint64_t> decided_along_;
  std::vector<double> decided_;
  const Difference difference_;
  const size_t together_;                      // losses of one pass
  const std::unique_ptr<ModelPoints> points_;  // where they are measured
  int64_t step_ = 0;
  uint64_t micro_steps_ = 0;  // index of the dropout stream at the step's first micro-batch
};

// The same steps where backpropagation can be afforded: slopes are projections of the gradient, so
// that clients of both kinds send the same numbers. Must not outlive its arguments.
class ProjectedRun : public StepRun {
 public:
  ProjectedRun(const RunSetting& setting, const ParameterSet& global, StepDirections directions,
               kernels::Workspace& workspace);

  absl::StatusOr<StepReport> Step(std::span<const Batch> batches, double learning_rate) override;
  absl::StatusOr<ParameterSet> Update() const override;

 private:
  const RunSetting setting_;
  const ParameterSet& global_;
  GradientPass gradient_;
  StepDirections directions_;
};

}  // namespace rivulet
