#include "common/formats/model_files.h"

#include <set>

#include "common/formats/json.h"
#include "common/formats/malformed.h"
#include "common/io/file.h"

namespace rivulet {
namespace {

using nlohmann::json;

constexpr char kSingle[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr size_t kMaxTensors = 200'000;
constexpr JsonLimits kIndexLimits = {.bytes = 64 << 20, .depth = 4};

bool IsPlainFileName(std::string_view name) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
  return !name.empty() && name.size() <= 200 && name.find_first_not_of(kAllowed) == name.npos &&
         name.find("..") == name.npos && name != ".";
}

absl::StatusOr<ShardIndex> ReadShardIndex(const std::filesystem::path& path) {
  RV_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kIndexLimits.bytes));
  absl::StatusOr<ShardIndex> index = ParseShardIndex(text);
  if (!index.ok()) return Annotate(index.status(), path.string());
  return index;
}

// Every tensor of a shard is in the map with that shard, and the other way round.
absl::Status CheckAgainstIndex(const ShardIndex& index, const std::vector<std::string>& names,
                               const std::vector<SafetensorsFile>& files) {
  size_t found = 0;
  for (size_t shard = 0; shard < files.size(); ++shard) {
    for (const TensorView& tensor : files[shard].view().tensors()) {
      const auto row = index.file_of.find(tensor.spec.name);
      if (row == index.file_of.end() || row->second != names[shard])
        return Malformed(names[shard] + ": tensor '" + tensor.spec.name + "' is not in the index");
      ++found;
    }
  }
  if (found == index.file_of.size()) return absl::OkStatus();
  for (const auto& [tensor, file] : index.file_of) {
    const size_t shard = std::lower_bound(names.begin(), names.end(), file) - names.begin();
    if (files[shard].view().Find(tensor) == nullptr)
      return Malformed(file + ": tensor '" + tensor + "' of the index is missing");
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> ShardIndex::files() const {
  std::set<std::string> unique;
  for (const auto& [tensor, file] : file_of) unique.insert(file);
  return {unique.begin(), unique.end()};
}

absl::StatusOr<ShardIndex> ParseShardIndex(std::string_view text) {
  RV_ASSIGN_OR_RETURN(const json document, ParseJson(text, kIndexLimits));
  if (!document.is_object() || !document.contains("weight_map") ||
      !document["weight_map"].is_object())
    return Malformed("weight_map: got none, want an object of file names by tensor");
  const json& map = document["weight_map"];
  if (map.empty() || map.size() > kMaxTensors)
    return Malformed("weight_map: got " + std::to_string(map.size()) + " tensors, want 1..200000");
  ShardIndex index;
  for (const auto& [tensor, file] : map.items()) {
    if (!file.is_string() || !IsPlainFileName(file.get_ref<const std::string&>()))
      return Malformed("weight_map['" + tensor + "']: got " + file.dump().substr(0, 80) +
                       ", want a file name [A-Za-z0-9_.-]+");
    index.file_of[tensor] = file.get<std::string>();
  }
  return index;
}

std::string ShardIndexText(const ShardIndex& index, uint64_t total_bytes, uint64_t parameters) {
  const json document = {
      {"metadata", {{"total_parameters", parameters}, {"total_size", total_bytes}}},
      {"weight_map", index.file_of}};
  return document.dump(2) + "\n";
}

absl::StatusOr<std::vector<std::string>> WeightFileNames(const std::filesystem::path& directory) {
  if (std::filesystem::exists(directory / kSingle)) return std::vector<std::string>{kSingle};
  if (std::filesystem::exists(directory / kIndex)) {
    RV_ASSIGN_OR_RETURN(const ShardIndex index, ReadShardIndex(directory / kIndex));
    return index.files();
  }
  const bool pickle = std::filesystem::exists(directory / "pytorch_model.bin") ||
                      std::filesystem::exists(directory / "pytorch_model.bin.index.json");
  return Refuse(
      absl::StatusCode::kNotFound,
      directory.string() + ": " +
          (pickle ? "got pytorch_model.bin, which can run code when read; want model.safetensors "
                    "(convert it with the transformers library's save_pretrained)"
                  : "no model.safetensors and no model.safetensors.index.json"));
}

absl::StatusOr<ModelFiles> ModelFiles::Open(const std::filesystem::path& directory) {
  ModelFiles model;
  RV_ASSIGN_OR_RETURN(model.names_, WeightFileNames(directory));
  for (const std::string& name : model.names_) {
    RV_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(directory / name));
    model.files_.push_back(std::move(file));
  }
  if (model.names_.front() == kSingle) return model;
  RV_ASSIGN_OR_RETURN(const ShardIndex index, ReadShardIndex(directory / kIndex));
  absl::Status same = CheckAgainstIndex(index, model.names_, model.files_);
  if (!same.ok()) return Annotate(same, (directory / kIndex).string());
  return model;
}

const TensorView* ModelFiles::Find(std::string_view name) const {
  for (const SafetensorsFile& file : files_) {
    if (const TensorView* tensor = file.view().Find(name)) return tensor;
  }
  return nullptr;
}

std::vector<const TensorView*> ModelFiles::tensors() const {
  std::vector<const TensorView*> all;
  for (const SafetensorsFile& file : files_) {
    for (const TensorView& tensor : file.view().tensors()) all.push_back(&tensor);
  }
  return all;
}

std::vector<TensorSpec> ModelFiles::specs() const {
  std::vector<TensorSpec> specs;
  for (const TensorView* tensor : tensors()) specs.push_back(tensor->spec);
  return specs;
}

}  // namespace rivulet
