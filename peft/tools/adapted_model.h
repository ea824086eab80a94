#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "common/formats/adapter_manifest.h"
#include "common/job/job_spec.h"
#include "common/tensor/parameter_set.h"
#include "peft/model/base_model.h"

namespace rivulet {

// A base model and, when a folder names one, the adapter on top: what generate and evaluate work
// on.
struct AdaptedModel {
  std::shared_ptr<const BaseModel> base;
  JobSpec job;         // method and task that fit the adapter
  ParameterSet state;  // its tensors; without an adapter those of one that changes nothing
  std::filesystem::path directory;  // of the base model
};

// `task`: causal-lm | classification. `adapter`: a PEFT LoRA folder, an AdapterHub seq_bn folder,
// or empty. Errors: those of the readers; InvalidArgument when the adapter does not fit the base
// model; Unimplemented for rank_pattern and alpha_pattern (merge such an adapter first).
absl::StatusOr<AdaptedModel> LoadAdaptedModel(const std::filesystem::path& base,
                                              const std::filesystem::path& adapter,
                                              const std::string& task, const std::string& dtype);

}  // namespace rivulet
