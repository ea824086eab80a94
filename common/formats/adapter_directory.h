#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "common/formats/adapter_hub.h"
#include "common/formats/lora_adapter.h"
#include "common/formats/prompt_adapter.h"
#include "common/formats/whole_tensors.h"

// What `job download` and `simulate` write: the trained adapter in the form its readers know, with
// a note of where it comes from.

namespace rivulet {

// rivulet_provenance.json beside every export.
struct Provenance {
  std::string job;         // id or name
  int64_t round = 0;       // rounds that went into it
  std::string base_model;  // "sha256:<hex>" of the base model
  std::string adapter;     // hash of the global state (ParameterSet::HashHex); filled in by the
                           // writer when empty
  std::optional<double> epsilon;  // privacy spent; absent without differential privacy
  std::optional<double> delta;
  std::string software;  // "rivulet 0.1.0"
};
// Keys sorted, indent 2, final newline.
std::string ProvenanceText(const Provenance& provenance);

// "peft" (lora, prompt), "adapterhub" (adapter), "portable" (lora for vLLM and llama.cpp),
// "tensors" (full: what was trained, for MergeModel). Empty = the one of the method.
struct ExportReport {
  std::string profile;
  int64_t rank = 0;               // of a LoRA: what vLLM wants as --max-lora-rank
  double largest_difference = 0;  // of dW, written and read back against what was trained
};

// Writes the adapter, reads it back and compares dW of every module. `state` holds what was trained
// (plan.wire() of the job; what was not is made again, see CompleteState, for which `base` is).
// Errors: InvalidArgument (profile and method do not go together, naming those that do; state does
// not fit); DataLoss when what is read back differs; those of writing and of CompleteState.
absl::StatusOr<ExportReport> WriteAdapterDirectory(const std::filesystem::path& directory,
                                                   const JobModel& model, const JobSpec& job,
                                                   const ParameterSet& state, Provenance provenance,
                                                   std::string_view profile = "",
                                                   const ModelFiles* base = nullptr);

// What an adapter folder holds.
using AnyAdapter = std::variant<LoraAdapter, BottleneckAdapter, PromptAdapter, WholeTensors>;

// Whole tensors have a file of their own. The others are told apart by adapter_config.json: PEFT's
// has a peft_type, AdapterHub's has not. Errors: NotFound when there is neither file, saying what
// the folder should hold; those of ReadWholeDirectory, ReadPeftDirectory, ReadPromptDirectory and
// ReadAdapterHubDirectory.
absl::StatusOr<AnyAdapter> ReadAdapterDirectory(const std::filesystem::path& directory);
// Whether it holds one of these, not a model.
bool IsAdapterDirectory(const std::filesystem::path& directory);

// Writes an adapter that was read, as WriteAdapterDirectory does one that was trained, and
// compares. Errors: as there.
absl::StatusOr<ExportReport> ExportAdapter(const std::filesystem::path& directory,
                                           const AnyAdapter& adapter,
                                           std::string_view profile = "");

}  // namespace rivulet
