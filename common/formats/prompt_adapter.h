#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/formats/adapter_manifest.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// `adapter_config.json` of a Hugging Face PEFT soft prompt (docs/formats/peft.md).
struct PeftPromptConfig {
  std::string base_model;  // base_model_name_or_path
  std::string task_type;   // CAUSAL_LM | SEQ_CLS
  int64_t num_virtual_tokens = 0;
  int64_t token_dim = 0;   // hidden size of the model
  int64_t num_layers = 0;  // of the model; 0 = not stated
  int64_t num_attention_heads = 0;
  std::vector<std::string> modules_to_save;  // names

  bool operator==(const PeftPromptConfig&) const = default;
};

// How the prompt was started is not read: its values are in the file. Errors: InvalidArgument
// naming key, value and what is wanted; Unimplemented for another peft_type or task, and for models
// of several parts.
absl::StatusOr<PeftPromptConfig> ParsePeftPromptConfig(std::string_view text);
// Keys sorted, indent 2, no newline at the end.
std::string PeftPromptConfigText(const PeftPromptConfig& config);

// A soft prompt as it lies in a PEFT folder: "prompt_embeddings" [num_virtual_tokens, token_dim]
// and, for classification, the head as "base_model.classifier.weight" and so on.
struct PromptAdapter {
  PeftPromptConfig config;
  ParameterSet weights;  // PEFT keys, sorted; dtype as in the file
};

// Holds keys and shapes against the config. Errors: InvalidArgument naming the key; Unimplemented
// for dtypes other than F32, BF16, F16.
absl::StatusOr<PromptAdapter> MakePromptAdapter(PeftPromptConfig config, ParameterSet weights);

// What a job trained. `state` holds plan.full() (see CompleteState). Errors: InvalidArgument when
// the method is not prompt or the state does not fit.
absl::StatusOr<PromptAdapter> PromptAdapterOf(const JobModel& model, const JobSpec& job,
                                              ParameterSet state);

// Errors: those of ReadPeftFolder and the parsers, with the path.
absl::StatusOr<PromptAdapter> ReadPromptDirectory(const std::filesystem::path& directory);
absl::Status WritePromptDirectory(const std::filesystem::path& directory,
                                  const PromptAdapter& adapter);

// Classes of a sequence-classification head beside the prompt; 0 without one.
int64_t HeadClasses(const PromptAdapter& adapter);

}  // namespace rivulet
