#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/formats/adapter_manifest.h"
#include "common/tensor/parameter_set.h"

// Tensors of the base model that a job trains themselves ([full]): which they are, and the folder
// in which they wait for the rest of the model.

namespace rivulet {

// The tensors of the modules that one of `names` names, by their whole path or by some of the names
// between its dots, side by side ("q_proj", "layers.3", "model.layers.3.mlp"); without names all.
// Those of the modules `joining` join. Never a tied head: what it is tied to stands for both. In
// module order. Errors: InvalidArgument naming the first of `names` that no module has.
absl::StatusOr<std::vector<TrainedTensor>> PlanWholeTensors(
    const ModelConfig& config, const TensorMatch& match, const std::vector<std::string>& names,
    const std::vector<std::string>& joining);

// Tensors that replace those of a base model, or are a head that it lacks, by their names there
// (model_tensors.h); F32.
struct WholeTensors {
  ParameterSet weights;
};

// Classes of a sequence-classification head among them; 0 without one.
int64_t HeadClasses(const WholeTensors& tensors);

// The file of the folder. Not model.safetensors, because a reader would take it for a whole model
// and draw what is not in it at random.
inline constexpr char kWholeTensorsFile[] = "trained_tensors.safetensors";

// Errors: NotFound; InvalidArgument naming a tensor that no module can have; those of reading and
// writing.
absl::StatusOr<WholeTensors> ReadWholeDirectory(const std::filesystem::path& directory);
absl::Status WriteWholeDirectory(const std::filesystem::path& directory,
                                 const WholeTensors& tensors);

}  // namespace rivulet
