#include "peft/tools/adapted_model.h"

#include <algorithm>

#include "common/formats/adapter_hub.h"
#include "common/formats/lora_adapter.h"
#include "peft/trainer/first_order_tuner.h"

namespace rivulet {
namespace {

absl::Status DescribeLora(const LoraAdapter& adapter, JobSpec& job) {
  const PeftLoraConfig& config = adapter.config;
  if (!config.rank_pattern.empty() || !config.alpha_pattern.empty()) {
    return Refuse(
        absl::StatusCode::kUnimplemented,
        "rank_pattern and alpha_pattern: got some, want none; `rivulet model merge` takes "
        "such an adapter");
  }
  job.method = "lora";
  job.lora.lora_r = static_cast<int>(config.rank);
  job.lora.lora_alpha = config.alpha;
  job.lora.lora_dropout = 0;
  job.lora.use_rslora = config.use_rslora;
  job.lora.lora_target_modules = config.target_modules;
  if (!config.target_pattern.empty()) {
    job.lora.lora_target_modules = {"regex:" + config.target_pattern};
  }
  job.lora.layers_to_transform.assign(config.layers_to_transform.begin(),
                                      config.layers_to_transform.end());
  job.lora.modules_to_save = config.modules_to_save;
  return absl::OkStatus();
}

void Copy(const ParameterSet& from, ParameterSet& to) {
  for (size_t row = 0; row < from.size(); ++row) {
    const int64_t target = to.IndexOf(from.manifest()[row].name);
    if (target < 0) continue;
    const auto bytes = from.bytes(row);
    std::copy(bytes.begin(), bytes.end(), to.bytes(static_cast<size_t>(target)).begin());
  }
}

// The head's tensors under the names the job's manifest has for them: those that end alike.
void CopyHead(const ParameterSet& head, ParameterSet& to) {
  for (size_t row = 0; row < head.size(); ++row) {
    for (size_t target = 0; target < to.size(); ++target) {
      if (!to.manifest()[target].name.ends_with(head.manifest()[row].name)) continue;
      const auto bytes = head.bytes(row);
      if (bytes.size() == to.bytes(target).size()) {
        std::copy(bytes.begin(), bytes.end(), to.bytes(target).begin());
      }
    }
  }
}

absl::StatusOr<ParameterSet> ReadAdapter(const std::filesystem::path& directory, JobSpec& job,
                                         BottleneckAdapter& bottleneck) {
  if (std::filesystem::exists(directory / "adapter.safetensors")) {
    RV_ASSIGN_OR_RETURN(bottleneck, ReadAdapterHubDirectory(directory));
    bottleneck = Renamed(bottleneck, kAdapterName);
    job.method = "adapter";
    job.adapter.reduction_factor = static_cast<int>(bottleneck.config.reduction_factor);
    job.adapter.non_linearity = bottleneck.config.non_linearity;
    job.adapter.leave_out.assign(bottleneck.config.leave_out.begin(),
                                 bottleneck.config.leave_out.end());
    job.data.labels = bottleneck.labels;
    return bottleneck.weights;
  }
  RV_ASSIGN_OR_RETURN(const LoraAdapter lora, ReadPeftDirectory(directory));
  RV_RETURN_IF_ERROR(DescribeLora(lora, job));
  return lora.weights;
}

}  // namespace

absl::StatusOr<AdaptedModel> LoadAdaptedModel(const std::filesystem::path& base,
                                              const std::filesystem::path& adapter,
                                              const std::string& task, const std::string& dtype) {
  AdaptedModel model;
  model.directory = base;
  model.job.model.name = base.string();
  model.job.model.dtype = dtype;
  model.job.data.task = task;
  ParameterSet weights;
  BottleneckAdapter bottleneck;
  if (!adapter.empty()) {
    RV_ASSIGN_OR_RETURN(weights, ReadAdapter(adapter, model.job, bottleneck));
  }
  RV_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(base));
  RV_ASSIGN_OR_RETURN(const JobModel described, DescribeJobModel(base, files, model.job));
  RV_ASSIGN_OR_RETURN(model.state, InitialState(described.plan, model.job.job.seed, &files));
  if (!adapter.empty()) {
    const bool heads_apart = !bottleneck.head.empty();
    if (!heads_apart) {
      const absl::Status same = SameManifest(weights.manifest(), model.state.manifest());
      if (!same.ok()) return Annotate(same, adapter.string());
    }
    Copy(weights, model.state);
    if (heads_apart) CopyHead(bottleneck.head, model.state);
  }
  RV_ASSIGN_OR_RETURN(model.base, LoadBaseModel(base, model.job));
  return model;
}

}  // namespace rivulet
