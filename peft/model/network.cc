#include "peft/model/network.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "peft/model/bert.h"
#include "peft/model/llama.h"

namespace rivulet {
namespace {

absl::Status CheckExample(const Example& example, Task task, const ModelConfig& config) {
  const int64_t classes = static_cast<int64_t>(config.labels.size());
  const auto refuse = [](std::string_view what, int64_t got, int64_t limit) {
    return Refuse(absl::StatusCode::kInvalidArgument, std::string(what) + ": got " +
                                                          std::to_string(got) + ", want 0.." +
                                                          std::to_string(limit - 1));
  };
  const int64_t length = static_cast<int64_t>(example.ids.size());
  if (length == 0 || length > LongestSequence(config)) {
    return Refuse(absl::StatusCode::kInvalidArgument, "example: got " + std::to_string(length) +
                                                          " tokens, want 1.." +
                                                          std::to_string(LongestSequence(config)));
  }
  for (int32_t id : example.ids) {
    if (id < 0 || id >= config.vocab_size) return refuse("token id", id, config.vocab_size);
  }
  for (int32_t type : example.type_ids) {
    if (type < 0 || type >= config.type_vocab_size) {
      return refuse("segment id", type, config.type_vocab_size);
    }
  }
  if (task == Task::kClassification) {
    if (example.label < 0 || example.label >= classes)
      return refuse("label", example.label, classes);
    return absl::OkStatus();
  }
  for (int32_t target : example.targets) {
    if (target != -100 && (target < 0 || target >= config.vocab_size)) {
      return refuse("target", target, config.vocab_size);
    }
  }
  const bool fits = example.targets.empty() || example.targets.size() == example.ids.size();
  if (fits) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "targets: got " + std::to_string(example.targets.size()) +
                    ", want one per token, " + std::to_string(length));
}

// The vectors themselves: [lanes, tokens, hidden], one lane unless `values` has several.
at::Tensor VectorsOf(const PromptVectors& prompt) {
  if (!prompt.projection.defined()) {
    return prompt.values.dim() == 3 ? prompt.values : prompt.values.unsqueeze(0);
  }
  const at::Tensor start = prompt.start.unsqueeze(0);
  if (prompt.values.dim() == 1) {
    return start + at::mv(prompt.projection, prompt.values).view_as(start);
  }
  const at::Tensor moves = at::matmul(prompt.values, prompt.projection.t());
  return start + moves.view({-1, start.size(1), start.size(2)});
}

at::Tensor LongTensor(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }
at::Tensor IntTensor(const std::vector<int32_t>& values) { return at::tensor(values, at::kInt); }

}  // namespace

absl::StatusOr<Batch> MakeBatch(std::span<const Example* const> examples, Task task,
                                const ModelConfig& config) {
  Batch batch;
  batch.size = static_cast<int64_t>(examples.size());
  for (const Example* example : examples) {
    RV_RETURN_IF_ERROR(CheckExample(*example, task, config));
    batch.length = std::max(batch.length, static_cast<int64_t>(example->ids.size()));
    batch.tokens += static_cast<int64_t>(example->ids.size());
  }
  std::vector<int64_t> ids(batch.size * batch.length), types(ids.size()), rows;
  std::vector<int32_t> counts, targets;
  for (int64_t i = 0; i < batch.size; ++i) {
    const Example& example = *examples[i];
    const int64_t first = i * batch.length, count = static_cast<int64_t>(example.ids.size());
    std::copy(example.ids.begin(), example.ids.end(), ids.begin() + first);
    std::copy_n(example.type_ids.begin(), std::min<int64_t>(count, example.type_ids.size()),
                types.begin() + first);
    counts.push_back(static_cast<int32_t>(count));
    if (task == Task::kClassification) {
      targets.push_back(example.label);
      continue;
    }
    const std::vector<int32_t>& labels = example.targets.empty() ? example.ids : example.targets;
    for (int64_t t = 0; t + 1 < count; ++t) {
      if (labels[t + 1] == -100) continue;
      rows.push_back(first + t);
      targets.push_back(labels[t + 1]);
    }
  }
  batch.ids = LongTensor(ids);
  if (config.family == ModelFamily::kBert) batch.types = LongTensor(types);
  batch.counts = IntTensor(counts);
  batch.rows = LongTensor(rows);
  batch.targets = IntTensor(targets);
  return batch;
}

Batch BehindPrompt(Batch batch, const Adaptation& adaptation) {
  const int64_t front = adaptation.virtual_tokens();
  if (front == 0) return batch;
  if (batch.rows.defined()) {
    const at::Tensor sequence = at::floor_divide(batch.rows, batch.length);
    batch.rows = batch.rows + (sequence + 1) * front;
  }
  if (batch.types.defined()) {
    const at::Tensor types = batch.types.view({batch.size, batch.length});
    batch.types = at::cat({at::zeros({batch.size, front}, types.options()), types}, 1).view(-1);
  }
  batch.virtual_tokens = front;
  batch.length += front;
  batch.counts = batch.counts + front;
  return batch;
}

at::Tensor Network::PutPrompt(const at::Tensor& embedded, int64_t size,
                              const Adaptation& adaptation) {
  if (!adaptation.prompt) return embedded;
  const int64_t tokens = adaptation.prompt->tokens(), hidden = embedded.size(1);
  const at::Tensor vectors = VectorsOf(*adaptation.prompt);
  const int64_t lanes = vectors.size(0);
  const at::Tensor fronts = vectors.unsqueeze(1)
                                .expand({lanes, size / lanes, tokens, hidden})
                                .reshape({size, tokens, hidden});
  return at::cat({fronts, embedded.view({size, -1, hidden})}, 1).view({-1, hidden});
}

at::Tensor Network::WeightIfAny(std::string_view name, const Adaptation& adaptation) const {
  const auto it = adaptation.replaced.find(name);
  if (it == adaptation.replaced.end()) return base_->Find(name);
  return adaptation.moved ? adaptation.moved(name, it->second) : it->second;
}

at::ScalarType Network::TypeOf(std::string_view name, const Adaptation& adaptation) const {
  const auto it = adaptation.replaced.find(name);
  return (it != adaptation.replaced.end() ? it->second : Weight(name, adaptation)).scalar_type();
}

at::Tensor Network::Weight(std::string_view name, const Adaptation& adaptation) const {
  at::Tensor tensor = WeightIfAny(name, adaptation);
  TORCH_CHECK(tensor.defined(), "neither the base model nor the trained state has ",
              std::string(name));
  return tensor;
}

Linear Network::LinearOf(const std::string& path, const Adaptation& adaptation) const {
  return {Weight(path + ".weight", adaptation), WeightIfAny(path + ".bias", adaptation),
          adaptation.LowRankOf(path)};
}

std::unique_ptr<Network> MakeNetwork(std::shared_ptr<const BaseModel> base) {
  switch (base->config().family) {
    case ModelFamily::kLlama:
      return MakeLlama(std::move(base));
    case ModelFamily::kBert:
      return MakeBert(std::move(base));
  }
  std::abort();
}

LossSums BatchLoss(const Network& network, const Batch& examples, Task task,
                   const Adaptation& adaptation, Pass& pass, double divisor) {
  const Batch batch = BehindPrompt(examples, adaptation);
  const at::Tensor hidden = network.Hidden(batch, adaptation, pass);
  if (task == Task::kCausalLm) {
    const bool all = batch.rows.size(0) == hidden.size(0);
    return TokenLoss(all ? hidden : hidden.index_select(0, batch.rows),
                     network.OutputMatrix(adaptation), batch.targets, pass, divisor);
  }
  const at::Tensor logits = network.Classify(hidden, batch, adaptation, pass);
  const at::Tensor classes = batch.targets.to(at::kLong);
  LossSums sums;
  if (divisor > 0) {
    sums.mean = at::cross_entropy_loss(logits, classes, {}, at::Reduction::Sum) / divisor;
    sums.loss = sums.mean.item<double>() * divisor;
  } else {
    sums.mean = at::cross_entropy_loss(logits, classes);
    sums.loss = sums.mean.item<double>() * static_cast<double>(batch.size);
  }
  sums.correct = (logits.argmax(1) == classes).sum().item<int64_t>();
  return sums;
}

}  // namespace rivulet
