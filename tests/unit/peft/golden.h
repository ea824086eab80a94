#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/formats/safetensors.h"
#include "peft/model/network.h"
#include "tests/unit/golden_folder.h"
#include "tests/unit/scratch.h"

// Reading the golden files of the reference implementations; where they lie and how they were made
// is told by the README beside them.

namespace rivulet::testing {

using rivulet::GoldenFolder;
using rivulet::SharedFolder;

// A golden model whose config.json has some keys changed; the weights are linked.
inline std::filesystem::path ModelWith(const std::string& model, const nlohmann::json& changes) {
  const auto from = GoldenFolder() / "models" / model;
  nlohmann::json config = nlohmann::json::parse(std::ifstream(from / "config.json"));
  config.merge_patch(changes);
  const std::string name = std::to_string(std::hash<std::string>()(config.dump()));
  const auto folder = ScratchRoot::Path() / (model + "-" + name);
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << config;
  std::filesystem::remove(folder / "model.safetensors");
  std::filesystem::create_symlink(std::filesystem::absolute(from / "model.safetensors"),
                                  folder / "model.safetensors");
  return folder;
}

// A golden file as tensors by name.
class Golden {
 public:
  explicit Golden(const std::filesystem::path& path) {
    auto file = SafetensorsFile::Open(path);
    if (!file.ok()) {
      ADD_FAILURE() << file.status();
      return;
    }
    for (const TensorView& view : file->view().tensors()) {
      const auto type = view.spec.dtype == DType::kI64    ? at::kLong
                        : view.spec.dtype == DType::kBF16 ? at::kBFloat16
                                                          : at::kFloat;
      at::Tensor tensor = at::empty(view.spec.shape, type);
      std::memcpy(tensor.data_ptr(), view.bytes.data(), view.bytes.size());
      tensors_[view.spec.name] = tensor;
    }
  }
  bool Has(const std::string& name) const { return tensors_.contains(name); }
  at::Tensor operator[](const std::string& name) const {
    const auto it = tensors_.find(name);
    if (it != tensors_.end()) return it->second;
    ADD_FAILURE() << "no " << name << " in the golden file";
    return at::zeros({1});
  }
  const std::map<std::string, at::Tensor>& all() const { return tensors_; }

 private:
  std::map<std::string, at::Tensor> tensors_;
};

// Rows of ids, mask, labels as the examples our own data pipeline would give.
inline std::vector<Example> ExamplesOf(const at::Tensor& ids, const at::Tensor& mask,
                                       const at::Tensor& labels, const at::Tensor& types) {
  std::vector<Example> examples(ids.size(0));
  for (int64_t i = 0; i < ids.size(0); ++i) {
    Example& example = examples[i];
    for (int64_t t = 0; t < ids.size(1); ++t) {
      if (mask.defined() && mask[i][t].item<int64_t>() == 0) continue;
      example.ids.push_back(ids[i][t].item<int32_t>());
      if (types.defined()) example.type_ids.push_back(types[i][t].item<int32_t>());
      if (labels.defined() && labels.dim() == 2)
        example.targets.push_back(labels[i][t].item<int32_t>());
    }
    if (labels.defined() && labels.dim() == 1) example.label = labels[i].item<int32_t>();
  }
  return examples;
}

inline Batch BatchOf(const std::vector<Example>& examples, Task task, const ModelConfig& config) {
  std::vector<const Example*> pointers;
  for (const Example& example : examples) pointers.push_back(&example);
  auto batch = MakeBatch(pointers, task, config);
  EXPECT_TRUE(batch.ok()) << batch.status();
  return batch.ok() ? *batch : Batch{};
}

// Logits as the reference shapes them: [size, length, vocabulary], virtual tokens first, or [size,
// classes].
inline at::Tensor LogitsOf(const Network& network, const Batch& examples, Task task,
                           const Adaptation& adaptation, Pass& pass) {
  const Batch batch = BehindPrompt(examples, adaptation);
  const at::Tensor hidden = network.Hidden(batch, adaptation, pass);
  if (task == Task::kClassification) return network.Classify(hidden, batch, adaptation, pass);
  return at::linear(hidden, network.OutputMatrix(adaptation)).view({batch.size, batch.length, -1});
}

// Largest difference, only where mask is 1 (right padding is undefined).
inline double LargestDifference(const at::Tensor& got, const at::Tensor& want,
                                const at::Tensor& mask = {}) {
  at::Tensor difference = (got - want).abs();
  if (mask.defined() && got.dim() == 3) {
    const int64_t front = got.size(1) - mask.size(1);  // virtual tokens
    difference = difference *
                 at::cat({at::ones({got.size(0), front}, mask.options()), mask}, 1).unsqueeze(2);
  }
  return difference.max().item<double>();
}

}  // namespace rivulet::testing
