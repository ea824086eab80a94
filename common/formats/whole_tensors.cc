#include "common/formats/whole_tensors.h"

#include <algorithm>

#include "common/formats/malformed.h"
#include "common/formats/safetensors_writer.h"
#include "common/io/file.h"

namespace rivulet {
namespace {

// Whether `part` is some of the names between the dots of `path`, side by side: "layers.3" of
// "model.layers.3.mlp.up_proj".
bool HasPart(const std::string& path, const std::string& part) {
  return ("." + path + ".").find("." + part + ".") != std::string::npos;
}

// Marks in `used` the names that chose the module, all of them.
bool IsChosen(const std::string& module, const std::vector<std::string>& names,
              std::vector<bool>& used) {
  bool chosen = names.empty();
  for (size_t row = 0; row < names.size(); ++row) {
    if (!HasPart(module, names[row])) continue;
    chosen = used[row] = true;
  }
  return chosen;
}

}  // namespace

absl::StatusOr<std::vector<TrainedTensor>> PlanWholeTensors(
    const ModelConfig& config, const TensorMatch& match, const std::vector<std::string>& names,
    const std::vector<std::string>& joining) {
  std::vector<TrainedTensor> tensors;
  std::vector<bool> used(names.size());
  std::string tied;  // the tied head and what it is tied to
  for (const ExpectedTensor& tensor : ExpectedTensors(config)) {
    const size_t dot = tensor.name.rfind('.');
    const std::string module = tensor.name.substr(0, dot);
    if (tensor.need == TensorNeed::kTied) {
      tied = "; " + module + " is tied to " + tensor.tied_to.substr(0, tensor.tied_to.rfind('.'));
      continue;
    }
    const bool joins = std::find(joining.begin(), joining.end(), module) != joining.end();
    if (!IsChosen(module, names, used) && !joins) continue;
    const bool head = tensor.need == TensorNeed::kHead;
    const bool bias = tensor.name.substr(dot) == ".bias";
    const auto found = match.file_name_of.find(tensor.name);
    const bool there = found != match.file_name_of.end();
    const TensorRole role = !head  ? TensorRole::kBase
                            : bias ? TensorRole::kHeadBias
                                   : TensorRole::kHeadWeight;
    tensors.push_back({{tensor.name, DType::kF32, tensor.shape},
                       role,
                       module,
                       there  ? found->second
                       : head ? ""
                              : tensor.name});
  }
  for (size_t row = 0; row < used.size(); ++row) {
    if (!used[row])
      return Malformed("full.modules: got '" + names[row] +
                       "', want the path of a module of this model or a part of it" + tied);
  }
  return tensors;
}

int64_t HeadClasses(const WholeTensors& tensors) {
  for (const TensorSpec& spec : tensors.weights.manifest()) {
    if (spec.name == "classifier.weight" || spec.name == "score.weight") return spec.shape.at(0);
  }
  return 0;
}

absl::StatusOr<WholeTensors> ReadWholeDirectory(const std::filesystem::path& directory) {
  const auto path = directory / kWholeTensorsFile;
  WholeTensors tensors;
  RV_ASSIGN_OR_RETURN(tensors.weights, ReadParameterSetFile(path));
  for (const TensorSpec& spec : tensors.weights.manifest()) {
    const bool named = spec.name.ends_with(".weight") || spec.name.ends_with(".bias");
    if (named && !spec.shape.empty() && spec.dtype == DType::kF32) continue;
    return Malformed(path.string() + ": got " + Describe(spec) +
                     ", want a weight or bias of a module, F32, of at least one dimension");
  }
  if (tensors.weights.empty()) return Malformed(path.string() + ": got no tensor, want at least 1");
  return tensors;
}

absl::Status WriteWholeDirectory(const std::filesystem::path& directory,
                                 const WholeTensors& tensors) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return FileError(directory, "create", error.value());
  return WriteSafetensors(directory / kWholeTensorsFile, tensors.weights);
}

}  // namespace rivulet
