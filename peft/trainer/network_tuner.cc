#include "peft/trainer/network_tuner.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "peft/model/base_model.h"
#include "peft/trainer/guarded.h"
#include "peft/trainer/process.h"

namespace rivulet {
namespace {

// A report carries nats as a whole number of 2^-20 in 64 bits.
constexpr double kMostNats = 0x1p42;

absl::Status CheckLoss(double loss) {
  if (std::abs(loss) < kMostNats) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInternal, "loss: got " + std::to_string(loss) +
                                                 " in evaluation, want a finite number of nats");
}

}  // namespace

NetworkTuner::NetworkTuner(std::unique_ptr<Network> network, std::unique_ptr<Method> method,
                           const JobSpec& job)
    : network_(std::move(network)),
      method_(std::move(method)),
      train_(job.train),
      seed_(job.job.seed),
      checkpointing_(job.model.gradient_checkpointing),
      task_(job.data.task == "classification" ? Task::kClassification : Task::kCausalLm),
      scalars_(ScalarForm::Of(job, method_->manifest())) {}

absl::StatusOr<std::optional<ScalarTally>> NetworkTuner::TallyOf(const TuneRequest& request) const {
  std::optional<ScalarTally> tally;
  if (!scalars_) return tally;
  if (scalars_->of_session() && !request.session_root) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "scalars.drawn-from = \"session\": got no session to draw directions from");
  }
  RV_RETURN_IF_ERROR(scalars_->CheckChoice(request.choice));
  std::optional<PoolChoice> choice;
  if (scalars_->by_amplitude()) {
    const auto count = static_cast<size_t>(scalars_->count());
    const std::vector<float> none(request.pool_sums.empty() ? count : 0);
    const std::span<const float> sums = none.empty() ? request.pool_sums : none;
    if (sums.size() != count) {
      return Refuse(absl::StatusCode::kInvalidArgument, "sums of the pool: got " +
                                                            std::to_string(sums.size()) +
                                                            ", want " + std::to_string(count));
    }
    RV_ASSIGN_OR_RETURN(choice, PoolChoice::Of(sums));
  }
  const ScalarRound round{request.round, request.session_root.value_or(0), request.choice};
  tally.emplace(*scalars_, round, request.client, std::move(choice));
  return tally;
}

absl::StatusOr<TuneResult> NetworkTuner::Tune(const TuneRequest& request) {
  RV_RETURN_IF_ERROR(SameManifest(request.global->manifest(), manifest()));
  if (request.spent != nullptr && request.spent != request.global) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "spent: got a state other than `global`, want that one or none");
  }
  if (request.examples.empty()) {
    return Refuse(absl::StatusCode::kInvalidArgument, "examples: got none, want at least 1");
  }
  std::unique_ptr<kernels::Workspace> workspace = TakeWorkspace();
  auto result = Guarded([&] {
    SetComputeThreads(1);  // the workspace divides the work
    return TuneWith(request, *workspace);
  });
  Return(std::move(workspace));
  return result;
}

absl::StatusOr<EvaluationSums> NetworkTuner::Evaluate(const ParameterSet& global,
                                                      std::span<const Example> examples) {
  RV_RETURN_IF_ERROR(SameManifest(global.manifest(), manifest()));
  std::unique_ptr<kernels::Workspace> workspace = TakeWorkspace();
  auto result = Guarded([&] {
    SetComputeThreads(1);  // the workspace divides the work
    return EvaluateWith(global, examples, *workspace);
  });
  Return(std::move(workspace));
  return result;
}

absl::StatusOr<TuneResult> NetworkTuner::Walk(const TuneRequest& request, StepRun& run) const {
  StepOrder order(train_, RootOfClient(request), static_cast<uint32_t>(request.examples.size()));
  const int64_t total = order.total();
  TuneResult result;
  while (result.steps < total) {
    RV_RETURN_IF_ERROR(CheckCancelled(request, result.steps));
    RV_ASSIGN_OR_RETURN(const std::vector<Batch> batches, Collate(request.examples, order.Next()));
    const double rate = train_.learning_rate * LearningRateFactor(train_, result.steps + 1, total);
    RV_ASSIGN_OR_RETURN(const StepReport report, run.Step(batches, rate));
    for (const Batch& batch : batches) {
      result.examples += batch.size;
      result.tokens += batch.targets.size(0);
    }
    result.loss += report.loss / static_cast<double>(total);
    result.grad_norm = report.grad_norm;
    ++result.steps;
  }
  RV_ASSIGN_OR_RETURN(result.delta, run.Update());
  return result;
}

absl::Status NetworkTuner::CheckCancelled(const TuneRequest& request, int64_t steps) {
  if (!request.cancelled || !request.cancelled()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kAborted,
                "tuning: cancelled after " + std::to_string(steps) + " steps");
}

absl::StatusOr<std::vector<Batch>> NetworkTuner::Collate(std::span<const Example> examples,
                                                         const StepPlan& step) const {
  std::vector<Batch> batches;
  for (const std::vector<uint32_t>& positions : step) {
    std::vector<const Example*> chosen;
    for (uint32_t position : positions) chosen.push_back(&examples[position]);
    RV_ASSIGN_OR_RETURN(Batch batch, MakeBatch(chosen, task_, network_->base().config()));
    batches.push_back(std::move(batch));
  }
  return batches;
}

absl::StatusOr<EvaluationSums> NetworkTuner::EvaluateWith(const ParameterSet& global,
                                                          std::span<const Example> examples,
                                                          kernels::Workspace& workspace) const {
  const at::NoGradGuard no_grad;
  const Adaptation adaptation = method_->Bind(TensorsIn(global));
  Pass pass = {&workspace, std::nullopt, false};
  EvaluationSums total;
  const size_t size = static_cast<size_t>(train_.per_device_train_batch_size);
  for (size_t first = 0; first < examples.size(); first += size) {
    std::vector<const Example*> chosen;
    for (size_t i = first; i < std::min(first + size, examples.size()); ++i) {
      chosen.push_back(&examples[i]);
    }
    RV_ASSIGN_OR_RETURN(const Batch batch, MakeBatch(chosen, task_, network_->base().config()));
    if (batch.targets.size(0) == 0) continue;
    const LossSums sums = BatchLoss(*network_, batch, task_, adaptation, pass);
    total.loss += sums.loss;
    RV_RETURN_IF_ERROR(CheckLoss(total.loss));
    total.counted += batch.targets.size(0);
    total.correct += sums.correct;
  }
  return total;
}

std::unique_ptr<kernels::Workspace> NetworkTuner::TakeWorkspace() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return std::make_unique<kernels::Workspace>(train_.threads);
  std::unique_ptr<kernels::Workspace> workspace = std::move(free_.back());
  free_.pop_back();
  return workspace;
}

void NetworkTuner::Return(std::unique_ptr<kernels::Workspace> workspace) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(workspace));
}

}  // namespace rivulet
