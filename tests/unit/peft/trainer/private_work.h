#pragma once

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "common/formats/adapter_manifest.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/trainer/private_run.h"
#include "peft/trainer/tuner.h"
#include "tests/unit/peft/random_model.h"

// Jobs under example privacy on small models with drawn weights.

namespace rivulet::testing {

constexpr int kSeqLength = 32;

struct PrivateCase {
  std::string name;
  nlohmann::json (*model)();
  bool heads;
  void (*shape)(JobSpec& job);
};
inline void PrintTo(const PrivateCase& which, std::ostream* out) { *out << which.name; }

// A job on a model of its own, with examples of different lengths.
class PrivateWork {
 public:
  explicit PrivateWork(const PrivateCase& which, int count = 7, uint32_t least = 2,
                       uint32_t most = kSeqLength) {
    const nlohmann::json config = which.model();
    task = config.contains("id2label") ? Task::kClassification : Task::kCausalLm;
    const bool classes = task == Task::kClassification;
    job.data.task = classes ? "classification" : "causal-lm";
    job.data.packing = false;
    job.data.seq_length = kSeqLength;
    if (classes) job.data.labels = {"no", "perhaps", "yes"};
    job.lora.lora_target_modules = {"all-linear"};
    job.lora.lora_r = 6;
    job.lora.lora_dropout = 0;
    job.train.per_device_train_batch_size = 4;
    job.train.optimizer = "sgd";
    job.train.max_grad_norm = 0;
    which.shape(job);
    auto loaded = LoadBaseModel(RandomModel(config, which.heads), job);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    base = *loaded;
    network = MakeNetwork(base);
    const auto plan = PlanAdapter(base->config(), base->match(), job);
    EXPECT_TRUE(plan.ok()) << plan.status();
    method = *MakeMethod(*plan, job);
    state = Moved(*InitialState(*plan, 1, &base->files()));
    examples = RandomExamples(count, least, most);
  }

  double length() const { return task == Task::kClassification ? 1 : kSeqLength; }

  Batch BatchOf(const std::vector<uint32_t>& positions) const {
    std::vector<const Example*> chosen;
    for (uint32_t position : positions) chosen.push_back(&examples[position]);
    return *MakeBatch(chosen, task, base->config());
  }

  // Gradient of one example's loss over length(), by autograd and the fused forms alone.
  std::vector<float> AloneGradient(uint32_t position) {
    TrainableState leaves(state);
    Pass pass = {&workspace, std::nullopt, false};
    const LossSums sums = BatchLoss(*network, BatchOf({position}), task,
                                    method->Bind(leaves.leaves()), pass, length());
    torch::autograd::backward({sums.mean});
    return {leaves.gradient(), leaves.gradient() + leaves.size()};
  }

  std::unique_ptr<PrivateRun> Run(const ExamplePrivacy& privacy) {
    auto run = PrivateRun::Make(
        {network.get(), method.get(), task, &job.train, job.model.gradient_checkpointing, 1},
        privacy, length(), state, workspace);
    EXPECT_TRUE(run.ok()) << run.status();
    return std::move(*run);
  }
  // The clipped sum over some examples, in micro-batches of at most `size`.
  std::vector<int64_t> SumOver(const ExamplePrivacy& privacy,
                               const std::vector<uint32_t>& positions, size_t size) {
    const auto run = Run(privacy);
    for (size_t first = 0; first < positions.size(); first += size) {
      const size_t last = std::min(positions.size(), first + size);
      EXPECT_TRUE(
          run->Accumulate(BatchOf({positions.begin() + first, positions.begin() + last})).ok());
    }
    return {run->sum().sums().begin(), run->sum().sums().end()};
  }

  TuneRequest RequestOf(const ExamplePrivacy& privacy, GradientNoise& noise) const {
    TuneRequest request;
    request.global = &state;
    request.examples = examples;
    request.client = "a";
    request.privacy = privacy;
    request.noise = &noise;
    return request;
  }
  absl::StatusOr<TuneResult> Tune(const TuneRequest& request) const {
    RV_ASSIGN_OR_RETURN(const auto tuner, MakeFirstOrderTuner(base, job));
    return tuner->Tune(request);
  }

  JobSpec job;
  Task task = Task::kCausalLm;
  std::shared_ptr<const BaseModel> base;
  std::unique_ptr<Network> network;
  std::unique_ptr<Method> method;
  ParameterSet state;
  std::vector<Example> examples;
  kernels::Workspace workspace;
};

// Clipping alone.
inline ExamplePrivacy Clip(double clip_norm) {
  ExamplePrivacy privacy;
  privacy.clip_norm = clip_norm;
  privacy.noise_multiplier = 0;
  return privacy;
}

inline double NormOf(std::span<const int64_t> sums) {
  double squares = 0;
  for (int64_t sum : sums) squares += static_cast<double>(sum) * static_cast<double>(sum);
  return std::sqrt(squares);
}

}  // namespace rivulet::testing
