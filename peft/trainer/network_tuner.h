#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "common/scalars/scalar_tally.h"
#include "peft/method/method.h"
#include "peft/model/network.h"
#include "peft/trainer/schedule.h"
#include "peft/trainer/training_run.h"
#include "peft/trainer/tuner.h"

namespace rivulet {

// What tuners of a network have in common, however they find their steps: checks, batches,
// evaluation, the walk over a client's data. Scratch memory outlives a call and moves from one to
// the next.
class NetworkTuner : public Tuner {
 public:
  const Manifest& manifest() const override { return method_->manifest(); }
  absl::StatusOr<TuneResult> Tune(const TuneRequest& request) final;
  absl::StatusOr<EvaluationSums> Evaluate(const ParameterSet& global,
                                          std::span<const Example> examples) final;

 protected:
  NetworkTuner(std::unique_ptr<Network> network, std::unique_ptr<Method> method,
               const JobSpec& job);

  // The round of one client, after the checks of Tune; exceptions are caught there.
  virtual absl::StatusOr<TuneResult> TuneWith(const TuneRequest& request,
                                              kernels::Workspace& workspace) = 0;

  // All steps of a round, in the client's own order.
  absl::StatusOr<TuneResult> Walk(const TuneRequest& request, StepRun& run) const;

  uint64_t RootOfClient(const TuneRequest& request) const {
    return RootOf(seed_, request.round, request.client);
  }
  RunSetting SettingWith(uint64_t root) const {
    return {network_.get(), method_.get(), task_, &train_, checkpointing_, root};
  }
  static absl::Status CheckCancelled(const TuneRequest& request, int64_t steps);
  // One batch for each micro-batch of `step`.
  absl::StatusOr<std::vector<Batch>> Collate(std::span<const Example> examples,
                                             const StepPlan& step) const;

  const TrainSection& train() const { return train_; }
  // Of a job with [scalars], else empty. Must not outlive the tuner. Errors: InvalidArgument where
  // the request lacks what directions follow from or are chosen by; those of PoolChoice.
  absl::StatusOr<std::optional<ScalarTally>> TallyOf(const TuneRequest& request) const;
  Task task() const { return task_; }

 private:
  absl::StatusOr<EvaluationSums> EvaluateWith(const ParameterSet& global,
                                              std::span<const Example> examples,
                                              kernels::Workspace& workspace) const;
  std::unique_ptr<kernels::Workspace> TakeWorkspace();
  void Return(std::unique_ptr<kernels::Workspace> workspace);

  const std::unique_ptr<Network> network_;
  const std::unique_ptr<Method> method_;
  const TrainSection train_;
  const uint64_t seed_;
  const bool checkpointing_;
  const Task task_;
  const std::optional<ScalarForm> scalars_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<kernels::Workspace>> free_;
};

}  // namespace rivulet
