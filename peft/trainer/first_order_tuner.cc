#include "peft/trainer/first_order_tuner.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

#include "peft/method/method.h"
#include "peft/model/base_model.h"
#include "peft/model/network.h"
#include "peft/trainer/guarded.h"
#include "peft/trainer/private_run.h"
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
        packing_(job.data.packing && task_ == Task::kCausalLm),
        seq_length_(job.data.seq_length),
        workspaces_(job.train.threads) {}

  const Manifest& manifest() const override { return method_->manifest(); }

  absl::StatusOr<TuneResult> Tune(const TuneRequest& request) override {
    RV_RETURN_IF_ERROR(SameManifest(request.global->manifest(), manifest()));
    if (request.examples.empty()) {
      return Refuse(absl::StatusCode::kInvalidArgument, "examples: got none, want at least 1");
    }
    std::unique_ptr<kernels::Workspace> workspace = workspaces_.Take();
    auto result = Guarded([&] {
      return request.privacy ? TunePrivately(request, *workspace) : TuneWith(request, *workspace);
    });
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
      RV_RETURN_IF_ERROR(CheckCancelled(request, result.steps));
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

  absl::StatusOr<TuneResult> TunePrivately(const TuneRequest& request,
                                           kernels::Workspace& workspace) {
    SetComputeThreads(1);  // the workspace divides the work
    RV_RETURN_IF_ERROR(CheckPrivacy(request));
    const ExamplePrivacy& privacy = *request.privacy;
    const double count = static_cast<double>(request.examples.size());
    const double batch_size =
        privacy.batch_size > 0 ? privacy.batch_size : privacy.sample_rate * count;
    const double length = task_ == Task::kClassification ? 1 : seq_length_;
    uint64_t root;
    RV_RETURN_IF_ERROR(request.noise->Draw({&root, 1}));
    RV_ASSIGN_OR_RETURN(
        const std::unique_ptr<PrivateRun> run,
        PrivateRun::Make({network_.get(), method_.get(), task_, &train_, checkpointing_, root},
                         privacy, length, *request.global, workspace));
    const int64_t total = static_cast<int64_t>(privacy.steps);
    TuneResult result;
    for (; result.steps < total; ++result.steps) {
      RV_RETURN_IF_ERROR(AccumulateSample(request, result.steps, *run));
      const double rate =
          train_.learning_rate * LearningRateFactor(train_, result.steps + 1, total);
      RV_ASSIGN_OR_RETURN(result.grad_norm, run->Finish(*request.noise, batch_size, rate));
    }
    const double expected = batch_size * static_cast<double>(total);
    result.examples = CountOf(expected);
    result.tokens = CountOf(expected * length);
    result.delta = run->state().DeltaFrom(*request.global);
    return result;
  }

  // Draws a step's examples and gives them to `run`.
  absl::Status AccumulateSample(const TuneRequest& request, int64_t step, PrivateRun& run) const {
    const uint32_t count = static_cast<uint32_t>(request.examples.size());
    RV_ASSIGN_OR_RETURN(const std::vector<uint32_t> sample,
                        PoissonSample(request.privacy->sample_rate, count, *request.noise));
    for (const std::vector<uint32_t>& positions : MicroBatches(request.examples, sample)) {
      RV_RETURN_IF_ERROR(CheckCancelled(request, step));
      RV_ASSIGN_OR_RETURN(const std::vector<Batch> batch, Collate(request.examples, {positions}));
      RV_RETURN_IF_ERROR(run.Accumulate(batch[0]));
    }
    return CheckCancelled(request, step);
  }

  // At least one: a client that takes part has a weight.
  static int64_t CountOf(double expected) {
    return std::llround(std::clamp(expected, 1.0, 0x1p53));
  }

  absl::Status CheckPrivacy(const TuneRequest& request) const {
    if (!request.noise) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "example privacy: got no source of noise, want one");
    }
    if (!packing_) return absl::OkStatus();
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "data.packing: got true with example privacy, where blocks of several records "
                  "would each be protected as one; want packing = false");
  }

  static absl::Status CheckCancelled(const TuneRequest& request, int64_t steps) {
    if (!request.cancelled || !request.cancelled()) return absl::OkStatus();
    return Refuse(absl::StatusCode::kAborted,
                  "tuning: cancelled after " + std::to_string(steps) + " steps");
  }

  // A step's examples by length, so that little of a micro-batch is padding.
  StepPlan MicroBatches(std::span<const Example> examples, std::vector<uint32_t> sample) const {
    std::stable_sort(sample.begin(), sample.end(), [&](uint32_t left, uint32_t right) {
      return examples[left].ids.size() < examples[right].ids.size();
    });
    StepPlan batches;
    const size_t size = static_cast<size_t>(train_.per_device_train_batch_size);
    for (size_t first = 0; first < sample.size(); first += size) {
      const auto begin = sample.begin() + static_cast<std::ptrdiff_t>(first);
      batches.emplace_back(
          begin, begin + static_cast<std::ptrdiff_t>(std::min(size, sample.size() - first)));
    }
    return batches;
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
  bool packing_;
  int seq_length_;
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
