#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/formats/adapter_manifest.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// `adapter_config.json` of an AdapterHub bottleneck adapter of kind seq_bn (docs/formats/peft.md).
struct AdapterHubConfig {
  std::string name;         // stands in every key: "...adapters.<name>.adapter_up.weight"
  std::string model_name;   // path or hub name of the base model
  std::string model_type;   // llama, bert
  std::string model_class;  // LlamaForCausalLM, BertForSequenceClassification
  int64_t hidden_size = 0;
  int64_t reduction_factor = 16;
  std::string non_linearity = "relu";  // relu | gelu | swish | tanh
  std::vector<int64_t> leave_out;      // layers

  bool operator==(const AdapterHubConfig&) const = default;
};

// Errors: InvalidArgument; Unimplemented when a field differs from seq_bn in what it computes
// (double_seq_bn, parallel, gating, ...) or the version is missing, naming the key.
absl::StatusOr<AdapterHubConfig> ParseAdapterHubConfig(std::string_view text);
// As the library writes it: keys sorted, indent 2, no newline at the end.
std::string AdapterHubConfigText(const AdapterHubConfig& config);

// A bottleneck adapter and, for classification, the head beside it.
struct BottleneckAdapter {
  AdapterHubConfig config;
  ParameterSet weights;             // AdapterHub keys with config.name, sorted
  ParameterSet head;                // "classifier.weight", ...; may be empty
  std::vector<std::string> labels;  // class names of the head, in order
};

// What a job trained. `state` holds plan.full(). Errors: InvalidArgument when the method is not
// adapter or the state does not fit.
absl::StatusOr<BottleneckAdapter> BottleneckAdapterOf(const JobModel& model, const JobSpec& job,
                                                      const ParameterSet& state);

// The same adapter under another name.
BottleneckAdapter Renamed(const BottleneckAdapter& adapter, const std::string& name);

// adapter_config.json, adapter.safetensors and, with a head, head_config.json,
// model_head.safetensors; no metadata, as the library writes. Errors: those of the parsers with the
// path; InvalidArgument for a key that is not of the adapter named in the config;
// pytorch_adapter.bin is named and refused; Unimplemented for dtypes other than F32, BF16, F16.
absl::StatusOr<BottleneckAdapter> ReadAdapterHubDirectory(const std::filesystem::path& directory);
absl::Status WriteAdapterHubDirectory(const std::filesystem::path& directory,
                                      const BottleneckAdapter& adapter);

}  // namespace rivulet
