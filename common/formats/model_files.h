#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/formats/safetensors.h"

namespace rivulet {

// `model.safetensors.index.json`: which shard holds which tensor.
struct ShardIndex {
  std::map<std::string, std::string> file_of;  // tensor -> file name in the same folder
  std::vector<std::string> files() const;      // each once, sorted
};

// Errors: InvalidArgument: not JSON, no weight_map, a file name outside [A-Za-z0-9_.-]+ or with
// "..", more than 200,000 tensors. metadata (total_size, total_parameters) is not relied on.
absl::StatusOr<ShardIndex> ParseShardIndex(std::string_view text);
// As the reference writes it: keys sorted, indent 2, final newline.
std::string ShardIndexText(const ShardIndex& index, uint64_t total_bytes, uint64_t parameters);

// The weights of a Hugging Face model folder: one file or several shards, mapped, zero copy.
// Movable. Const methods are safe from many threads.
class ModelFiles {
 public:
  // Looks for model.safetensors, then the index, then stops: pytorch_model.bin is named and
  // refused. Errors: NotFound; InvalidArgument when index and shards disagree, naming the tensor.
  static absl::StatusOr<ModelFiles> Open(const std::filesystem::path& directory);

  const TensorView* Find(std::string_view name) const;
  // Every tensor of every shard: shards by name, tensors in data order.
  std::vector<const TensorView*> tensors() const;
  std::vector<TensorSpec> specs() const;
  // File names in the folder, in the order that hashing and tensors() use.
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::string> names_;
  std::vector<SafetensorsFile> files_;
};

// Files of the folder that hold weights, without opening them: {"model.safetensors"} or the shards.
absl::StatusOr<std::vector<std::string>> WeightFileNames(const std::filesystem::path& directory);

}  // namespace rivulet
