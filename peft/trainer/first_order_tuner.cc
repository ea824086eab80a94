#include "peft/trainer/first_order_tuner.h"

#include <ATen/ATen.h>

#include <cmath>
#include <mutex>
#include <vector>

#include "peft/method/method.h"
#include "peft/model/base_model.h"
#include "peft/model/network.h"
#include "peft/trainer/guarded.h"
#include "peft/trainer/process.h"
#include "peft/trainer/schedule.h"
#include "peft/trainer/training_run.h"

namespace rivulet {
namespace {

// A report carries nats as a whole number of 2^-20 in 64 bits.
constexpr double kMostNats = 0x1p42;

absl::Status CheckLoss(double loss) {
  if (std::abs(loss) < kMostNats) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInternal, "loss: got " + std::to_string(loss) +
                                                 " in evaluation, want a finite number of nats");
}

// Scratch memory outlives a call and moves from one to the next.
class WorkspacePool {
 public:
  explicit WorkspacePool(int threads) : threads_(threads) {}
  std::unique_ptr<kernels::Workspace> Take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<kernels::Workspace>(threads_);
    std::unique_ptr<kernels::Workspace> workspace = std::move(free_.back());
    free_.pop_back();
    return workspace;
  }
  void Return(std::unique_ptr<kernels::Workspace> workspace) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(workspace));
  }

 private:
  const int threads_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<kernels::Workspace>> free_;
};

class FirstOrderTuner : public Tuner {
 public:
  FirstOrderTuner(std::unique_ptr<Network> network, std::unique_ptr<Method> method,
                  const JobSpec& job)
      : network_(std::move(network)),
        method_(std::move(method)),
        train_(job.train),
        seed_(job.job.seed),
        checkpointing_(job.model.gradient_checkpointing),
        task_(job.data.task == "classification" ? Task::kClassification : Task::kCausalLm),
        workspaces_(job.train.threads) {}

  const Manifest& manifest() const override { return method_->manifest(); }

  absl::StatusOr<TuneResult> Tune(const TuneRequest& request) override {
    RV_RETURN_IF_ERROR(SameManifest(request.global->manifest(), manifest()));
    if (request.examples.empty()) {
      return Refuse(absl::StatusCode::kInvalidArgument, "examples: got none, want at least 1");
    }
    std::unique_ptr<kernels::Workspace> workspace = workspaces_.Take();
    auto result = Guarded([&] { return TuneWith(request, *workspace); });
    workspaces_.Return(std::move(workspace));
    return result;
  }

  absl::StatusOr<EvaluationSums> Evaluate(const ParameterSet& global,
                                          std::span<const Example> examples) override {
    RV_RETURN_IF_ERROR(SameManifest(global.manifest(), manifest()));
    std::unique_ptr<kernels::Workspace> workspace = workspaces_.Take();
    auto result = Guarded([&] { return EvaluateWith(global, examples, *workspace); });
    workspaces_.Return(std::move(workspace));
    return result;
  }

 private:
  absl::StatusOr<TuneResult> TuneWith(const TuneRequest& request, kernels::Workspace& workspace) {
    SetComputeThreads(1);  // the workspace divides the work
    const uint64_t root = RootOf(seed_, request.round, request.client);
    TrainingRun run({network_.get(), method_.get(), task_, &train_, checkpointing_, root},
                    *request.global, workspace);
    StepOrder order(train_, root, static_cast<uint32_t>(request.examples.size()));
    const int64_t total = order.total();
    TuneResult result;
    while (result.steps < total) {
      if (request.cancelled && request.cancelled()) {
        return Refuse(absl::StatusCode::kAborted,
                      "tuning: cancelled after " + std::to_string(result.steps) + " steps");
      }
      RV_ASSIGN_OR_RETURN(const std::vector<Batch> batches,
                          Collate(request.examples, order.Next()));
      const double rate =
          train_.learning_rate * LearningRateFactor(train_, result.steps + 1, total);
      RV_ASSIGN_OR_RETURN(const StepReport report, run.Step(batches, rate));
      for (const Batch& batch : batches) {
        result.examples += batch.size;
        result.tokens += batch.targets.size(0);
      }
      result.loss += report.loss / static_cast<double>(total);
      result.grad_norm = report.grad_norm;
      ++result.steps;
    }
    result.delta = run.state().DeltaFrom(*request.global);
    return result;
  }

  absl::StatusOr<std::vector<Batch>> Collate(std::span<const Example> examples,
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

  absl::StatusOr<EvaluationSums> EvaluateWith(const ParameterSet& global,
                                              std::span<const Example> examples,
                                              kernels::Workspace& workspace) {
    SetComputeThreads(1);  // the workspace divides the work
    const at::NoGradGuard no_grad;
    const TrainableState state(global);
    const Adaptation adaptation = method_->Bind(state.leaves());
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

  std::unique_ptr<Network> network_;
  std::unique_ptr<Method> method_;
  TrainSection train_;
  uint64_t seed_;
  bool checkpointing_;
  Task task_;
  WorkspacePool workspaces_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const BaseModel>> LoadBaseModel(
    const std::filesystem::path& directory, const JobSpec& job) {
  PrepareProcess();
  return Guarded([&] {
    return BaseModel::Load(
        directory, {job.data.task, job.data.labels,
                    job.model.dtype == "bfloat16" ? Compute::kBFloat16 : Compute::kFloat32});
  });
}

absl::StatusOr<std::unique_ptr<Tuner>> MakeFirstOrderTuner(std::shared_ptr<const BaseModel> base,
                                                           const JobSpec& job) {
  RV_ASSIGN_OR_RETURN(const AdapterPlan plan, PlanAdapter(base->config(), base->match(), job));
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Tuner>> {
    RV_ASSIGN_OR_RETURN(std::unique_ptr<Method> method, MakeMethod(plan, job));
    return MakeFirstOrderTuner(std::move(base), std::move(method), job);
  });
}

std::unique_ptr<Tuner> MakeFirstOrderTuner(std::shared_ptr<const BaseModel> base,
                                           std::unique_ptr<Method> method, const JobSpec& job) {
  PrepareProcess();
  return std::make_unique<FirstOrderTuner>(MakeNetwork(std::move(base)), std::move(method), job);
}

}  // namespace rivulet
