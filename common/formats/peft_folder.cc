#include "common/formats/peft_folder.h"

#include "common/formats/malformed.h"
#include "common/formats/safetensors.h"
#include "common/formats/safetensors_writer.h"
#include "common/io/file.h"

namespace rivulet {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;

}  // namespace

absl::StatusOr<PeftFolder> ReadPeftFolder(const std::filesystem::path& directory) {
  PeftFolder folder;
  RV_ASSIGN_OR_RETURN(folder.config, ReadFile(directory / kPeftConfigFile, kMaxConfigBytes));
  if (!std::filesystem::exists(directory / kPeftWeightsFile) &&
      std::filesystem::exists(directory / "adapter_model.bin"))
    return Malformed(directory.string() +
                     ": got adapter_model.bin, which can run code when read; want " +
                     kPeftWeightsFile);
  RV_ASSIGN_OR_RETURN(folder.weights, ReadParameterSetFile(directory / kPeftWeightsFile));
  return folder;
}

absl::Status WritePeftFolder(const std::filesystem::path& directory, std::string_view config,
                             const ParameterSet& weights) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return FileError(directory, "create", error.value());
  RV_RETURN_IF_ERROR(WriteSafetensors(directory / kPeftWeightsFile, weights));
  return WriteFileAtomically(directory / kPeftConfigFile, config);
}

}  // namespace rivulet
