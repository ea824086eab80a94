#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "common/tensor/parameter_set.h"

namespace rivulet {

inline constexpr char kPeftConfigFile[] = "adapter_config.json";
inline constexpr char kPeftWeightsFile[] = "adapter_model.safetensors";
inline constexpr char kPeftVersion[] = "0.18.0";  // the oldest whose configs are as ours

// The two files that a PEFT adapter of any kind consists of.
struct PeftFolder {
  std::string config;    // JSON text
  ParameterSet weights;  // PEFT keys, sorted; dtype as in the file
};

// Errors: NotFound; InvalidArgument for damage; adapter_model.bin is named and refused.
absl::StatusOr<PeftFolder> ReadPeftFolder(const std::filesystem::path& directory);
// Folders are made, files appear atomically.
absl::Status WritePeftFolder(const std::filesystem::path& directory, std::string_view config,
                             const ParameterSet& weights);

}  // namespace rivulet
