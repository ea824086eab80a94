#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/formats/adapter_manifest.h"
#include "common/job/job_spec.h"
#include "common/tensor/parameter_set.h"
#include "peft/model/base_model.h"

namespace rivulet {

// A base model and, when a folder names one, the adapter on top, or the tensors in place of its
// own: what generate and evaluate work on.
struct AdaptedModel {
  std::shared_ptr<const BaseModel> base;
  JobSpec job;         // method, task and labels that fit the adapter
  ParameterSet state;  // its tensors; without an adapter those of one that changes nothing
  std::vector<std::string> untrained;  // modules that neither file has: drawn at random
  std::filesystem::path directory;     // of the base model
};

// How to read the two folders.
struct AdaptedModelOptions {
  std::string task;                 // causal-lm | classification; empty = as adapter or model says
  std::vector<std::string> labels;  // class names; empty = those of the adapter's or model's head
  std::string dtype = "float32";    // float32 | bfloat16: arithmetic of the base
};

// `adapter`: a PEFT folder of a LoRA (any rank_pattern and alpha_pattern) or of a soft prompt, F32,
// BF16 or F16, an AdapterHub seq_bn folder, a folder of whole tensors, or empty. Errors: those of
// the readers; InvalidArgument when the adapter does not fit the base model or lacks a tensor,
// naming it.
absl::StatusOr<AdaptedModel> LoadAdaptedModel(const std::filesystem::path& base,
                                              const std::filesystem::path& adapter,
                                              const AdaptedModelOptions& options);

}  // namespace rivulet
