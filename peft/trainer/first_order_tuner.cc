#include "peft/trainer/first_order_tuner.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/scalars/scalar_tally.h"
#include "peft/model/base_model.h"
#include "peft/trainer/guarded.h"
#include "peft/trainer/network_tuner.h"
#include "peft/trainer/private_run.h"
#include "peft/trainer/process.h"

namespace rivulet {
namespace {

class FirstOrderTuner : public NetworkTuner {
 public:
  FirstOrderTuner(std::unique_ptr<Network> network, std::unique_ptr<Method> method,
                  const JobSpec& job)
      : NetworkTuner(std::move(network), std::move(method), job),
        packing_(job.data.packing && task() == Task::kCausalLm),
        seq_length_(job.data.seq_length) {}

 private:
  absl::StatusOr<TuneResult> TuneWith(const TuneRequest& request,
                                      kernels::Workspace& workspace) override {
    if (request.privacy) return TunePrivately(request, workspace);
    RV_ASSIGN_OR_RETURN(std::optional<ScalarTally> tally, TallyOf(request));
    TrainingRun run(SettingWith(RootOfClient(request)), *request.global, workspace);
    RV_ASSIGN_OR_RETURN(TuneResult result, Walk(request, run));
    if (!tally) return result;
    tally->Project(FlatOf(result.delta));
    RV_ASSIGN_OR_RETURN(result.delta, tally->Update());
    return result;
  }

  absl::StatusOr<TuneResult> TunePrivately(const TuneRequest& request,
                                           kernels::Workspace& workspace) {
    RV_RETURN_IF_ERROR(CheckPrivacy(request));
    const ExamplePrivacy& privacy = *request.privacy;
    const double count = static_cast<double>(request.examples.size());
    const double batch_size =
        privacy.batch_size > 0 ? privacy.batch_size : privacy.sample_rate * count;
    const double length = task() == Task::kClassification ? 1 : seq_length_;
    uint64_t root;
    RV_RETURN_IF_ERROR(request.noise->Draw({&root, 1}));
    RV_ASSIGN_OR_RETURN(
        const std::unique_ptr<PrivateRun> run,
        PrivateRun::Make(SettingWith(root), privacy, length, *request.global, workspace));
    const int64_t total = static_cast<int64_t>(privacy.steps);
    TuneResult result;
    for (; result.steps < total; ++result.steps) {
      RV_RETURN_IF_ERROR(AccumulateSample(request, result.steps, *run));
      const double rate =
          train().learning_rate * LearningRateFactor(train(), result.steps + 1, total);
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

  // A step's examples by length, so that little of a micro-batch is padding.
  StepPlan MicroBatches(std::span<const Example> examples, std::vector<uint32_t> sample) const {
    std::stable_sort(sample.begin(), sample.end(), [&](uint32_t left, uint32_t right) {
      return examples[left].ids.size() < examples[right].ids.size();
    });
    StepPlan batches;
    const size_t size = static_cast<size_t>(train().per_device_train_batch_size);
    for (size_t first = 0; first < sample.size(); first += size) {
      const auto begin = sample.begin() + static_cast<std::ptrdiff_t>(first);
      batches.emplace_back(
          begin, begin + static_cast<std::ptrdiff_t>(std::min(size, sample.size() - first)));
    }
    return batches;
  }

  const bool packing_;
  const int seq_length_;
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
    RV_ASSIGN_OR_RETURN(std::unique_ptr<Method> method, MakeMethod(plan, job, &base->files()));
    return MakeFirstOrderTuner(std::move(base), std::move(method), job);
  });
}

std::unique_ptr<Tuner> MakeFirstOrderTuner(std::shared_ptr<const BaseModel> base,
                                           std::unique_ptr<Method> method, const JobSpec& job) {
  PrepareProcess();
  return std::make_unique<FirstOrderTuner>(MakeNetwork(std::move(base)), std::move(method), job);
}

}  // namespace rivulet
