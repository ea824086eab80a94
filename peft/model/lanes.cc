#include "peft/model/lanes.h"

#include <ATen/ATen.h>

namespace rivulet {
namespace {

// Elsewhere a tensor of lanes would be taken for one of another shape.
void CheckLanes(const Adaptation& adaptation, const Pass& pass) {
  TORCH_CHECK(!at::GradMode::is_enabled() && pass.examples == nullptr,
              "lanes of a pass have no backward pass");
  for (const auto& [name, tensor] : adaptation.replaced) {
    TORCH_CHECK(IsClassifierTensor(name), name, ": got it trained whole in a pass of ", pass.lanes,
                " lanes, want low-rank factors, bottlenecks, prompts and classifiers alone");
  }
}

}  // namespace

Batch InLanes(Batch batch, int64_t lanes) {
  const auto repeated = [lanes](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.repeat({lanes}) : tensor;
  };
  if (batch.rows.defined()) {
    const at::Tensor first = at::arange(lanes, at::kLong) * (batch.size * batch.length);
    batch.rows = (first.unsqueeze(1) + batch.rows.unsqueeze(0)).view(-1);
  }
  batch.ids = repeated(batch.ids);
  batch.types = repeated(batch.types);
  batch.counts = repeated(batch.counts);
  batch.targets = repeated(batch.targets);
  batch.size *= lanes;
  batch.tokens *= lanes;
  return batch;
}

bool IsClassifierTensor(std::string_view name) {
  return name.starts_with("classifier.") || name.starts_with("score.") ||
         name.starts_with("bert.pooler.");
}

std::vector<double> LaneLosses(const Network& network, const Batch& examples, Task task,
                               const Adaptation& adaptation, Pass& pass) {
  CheckLanes(adaptation, pass);
  const Batch batch = InLanes(BehindPrompt(examples, adaptation), pass.lanes);
  const at::Tensor hidden = network.Hidden(batch, adaptation, pass);
  at::Tensor losses;
  if (task == Task::kCausalLm) {
    const bool all = batch.rows.size(0) == hidden.size(0);
    losses = TokenLosses(all ? hidden : hidden.index_select(0, batch.rows),
                         network.OutputMatrix(adaptation), batch.targets, pass);
  } else {
    losses = at::cross_entropy_loss(network.Classify(hidden, batch, adaptation, pass),
                                    batch.targets.to(at::kLong), {}, at::Reduction::None)
                 .to(at::kCPU, at::kDouble);
  }
  const at::Tensor sums = losses.view({pass.lanes, -1}).sum(1);
  return {sums.data_ptr<double>(), sums.data_ptr<double>() + pass.lanes};
}

}  // namespace rivulet
