#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/formats/model_config.h"
#include "common/formats/model_files.h"
#include "common/formats/model_tensors.h"
#include "common/status.h"

namespace rivulet {

// Arithmetic of the frozen base. kBFloat16 keeps its large matrices in bf16 and multiplies in bf16
// where the CPU does that, adding up in fp32; a matrix unit gets attention's products and those
// with low-rank factors as well, rounded on the way. Norms, softmax, the residual stream and
// everything trained stay fp32.
enum class Compute { kFloat32, kBFloat16 };

struct BaseModelOptions {
  std::string task = "causal-lm";   // causal-lm | classification: which head is put on
  std::vector<std::string> labels;  // classification; empty = those of config.json
  Compute compute = Compute::kFloat32;
};

// A frozen base model: configuration and weights, read once and shared read-only by every client
// and thread. F32 weights are views of the mapped files; BF16 and F16 ones are widened once.
// Immutable after Load, so safe from many threads.
class BaseModel {
 public:
  // Reads config.json and the weights of a Hugging Face folder. Known spellings of older files are
  // accepted; a missing head is not an error here (the job trains it from the seed).
  // Errors: NotFound; InvalidArgument naming up to 20 tensors that are missing or misshapen;
  // Unimplemented for a family other than llama and bert.
  static absl::StatusOr<std::shared_ptr<const BaseModel>> Load(
      const std::filesystem::path& directory, const BaseModelOptions& options = {});

  const ModelConfig& config() const { return config_; }
  Compute compute() const { return compute_; }
  const ModelFiles& files() const { return files_; }
  const TensorMatch& match() const { return match_; }  // names in the files, absent heads
  // The tensor of that (current) name, or an undefined one.
  at::Tensor Find(std::string_view name) const;
  const std::map<std::string, at::Tensor, std::less<>>& tensors() const { return tensors_; }

 private:
  BaseModel() = default;

  ModelConfig config_;
  Compute compute_ = Compute::kFloat32;
  TensorMatch match_;
  ModelFiles files_;  // what the views point into
  std::map<std::string, at::Tensor, std::less<>> tensors_;
};

}  // namespace rivulet
