#include "peft/tools/adapted_model.h"

#include <algorithm>

#include "common/formats/adapter_directory.h"
#include "peft/trainer/first_order_tuner.h"

namespace rivulet {
namespace {

absl::Status Bad(const std::string& message) {
  return Refuse(absl::StatusCode::kInvalidArgument, message);
}

// ---- what an adapter says about the job it came from

struct Source {
  bool given = false;
  ParameterSet weights;  // named as in the job's manifest
  ParameterSet head;     // AdapterHub keeps it apart; names end as the job's do
  std::string task;
  int64_t classes = 0;
  std::vector<std::string> labels;
};

// "classifier" of "classifier.weight".
std::string ModuleOf(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

absl::Status Describe(const LoraAdapter& read, JobSpec& job, Source& source) {
  // The trainer knows one rank and one scale.
  RV_ASSIGN_OR_RETURN(const LoraAdapter adapter, WithUniformRank(read));
  const PeftLoraConfig& config = adapter.config;
  job.method = "lora";
  job.lora.lora_r = static_cast<int>(config.rank);
  job.lora.lora_alpha = config.alpha;
  job.lora.lora_dropout = 0;
  job.lora.lora_target_modules = config.target_modules;
  if (!config.target_pattern.empty())
    job.lora.lora_target_modules = {"regex:" + config.target_pattern};
  job.lora.layers_to_transform.assign(config.layers_to_transform.begin(),
                                      config.layers_to_transform.end());
  // Not config.modules_to_save: PEFT lists "classifier" and "score" whichever there is.
  for (size_t row : adapter.saved)
    job.lora.modules_to_save.push_back(ModuleOf(adapter.SavedName(row)));
  source.weights = adapter.weights;
  source.classes = HeadClasses(adapter);
  if (config.task_type == "SEQ_CLS" || source.classes > 0) source.task = "classification";
  if (config.task_type == "CAUSAL_LM") source.task = "causal-lm";
  return absl::OkStatus();
}

absl::Status Describe(const BottleneckAdapter& read, JobSpec& job, Source& source) {
  const BottleneckAdapter adapter = Renamed(read, kAdapterName);
  job.method = "adapter";
  job.adapter.reduction_factor = static_cast<int>(adapter.config.reduction_factor);
  job.adapter.non_linearity = adapter.config.non_linearity;
  job.adapter.leave_out.assign(adapter.config.leave_out.begin(), adapter.config.leave_out.end());
  source.weights = adapter.weights;
  source.head = adapter.head;
  source.labels = adapter.labels;
  source.classes = static_cast<int64_t>(adapter.labels.size());
  const bool classifies = adapter.config.model_class.ends_with("ForSequenceClassification");
  source.task = classifies ? "classification" : "causal-lm";
  return absl::OkStatus();
}

absl::Status Describe(const WholeTensors& read, JobSpec& job, Source& source) {
  job.method = "full";
  for (const TensorSpec& spec : read.weights.manifest()) {
    const std::string module = ModuleOf(spec.name);
    auto& modules = job.full.modules;
    if (modules.empty() || modules.back() != module) modules.push_back(module);
  }
  source.weights = read.weights;
  source.classes = HeadClasses(read);
  if (source.classes > 0) source.task = "classification";
  return absl::OkStatus();
}

absl::Status Describe(const PromptAdapter& adapter, JobSpec& job, Source& source) {
  job.method = "prompt";
  job.prompt.num_virtual_tokens = static_cast<int>(adapter.config.num_virtual_tokens);
  job.prompt.prompt_tuning_init = "random";  // every value is in the file
  source.weights = adapter.weights;
  source.classes = HeadClasses(adapter);
  source.task = adapter.config.task_type == "SEQ_CLS" ? "classification" : "causal-lm";
  return absl::OkStatus();
}

absl::StatusOr<Source> ReadSource(const std::filesystem::path& directory, JobSpec& job) {
  Source source;
  if (directory.empty()) return source;
  source.given = true;
  RV_ASSIGN_OR_RETURN(const AnyAdapter adapter, ReadAdapterDirectory(directory));
  RV_RETURN_IF_ERROR(
      std::visit([&](const auto& form) { return Describe(form, job, source); }, adapter));
  return source;
}

// ---- task and labels

// As many names as the head has classes: the user's, the adapter's, the model's, else numbers.
std::vector<std::string> LabelsFor(const AdaptedModelOptions& options, const Source& source,
                                   const ModelConfig& config) {
  if (!options.labels.empty()) return options.labels;
  if (!source.labels.empty()) return source.labels;
  const auto classes = static_cast<size_t>(source.classes);
  if (classes == 0 || config.labels.size() == classes) return config.labels;
  std::vector<std::string> labels;
  for (size_t label = 0; label < classes; ++label)
    labels.push_back("LABEL_" + std::to_string(label));
  return labels;
}

absl::Status ChooseTask(const AdaptedModelOptions& options, const Source& source,
                        const ModelConfig& config, JobSpec& job) {
  const bool classifies =
      config.head == ModelHead::kSequenceClassification || config.family == ModelFamily::kBert;
  job.data.task = classifies ? "classification" : "causal-lm";
  if (!source.task.empty()) job.data.task = source.task;
  if (!options.task.empty()) job.data.task = options.task;
  if (job.data.task != "classification") return absl::OkStatus();
  job.data.labels = LabelsFor(options, source, config);
  const auto got = static_cast<int64_t>(job.data.labels.size());
  if (source.classes == 0 || got == source.classes) return absl::OkStatus();
  return Bad("labels: got " + std::to_string(got) + ", want as many as the adapter's head has " +
             "classes, " + std::to_string(source.classes));
}

// ---- tensors

absl::Status Copy(const ParameterSet& from, size_t row, ParameterSet& to, size_t target) {
  const TensorSpec& got = from.manifest()[row];
  const TensorSpec& want = to.manifest()[target];
  if (got.shape != want.shape)
    return Bad("got " + rivulet::Describe(got) + ", want " +
               rivulet::Describe(want).substr(want.name.size() + 1) +
               ": the adapter is of another base model");
  CopyAsFloats({got, from.bytes(row)}, to.floats(target));
  return absl::OkStatus();
}

// Row of `set` for the job's tensor `name`, or -1.
int64_t RowOf(const Source& source, const std::string& name, bool& in_head) {
  in_head = false;
  if (const int64_t row = source.weights.IndexOf(name); row >= 0) return row;
  in_head = true;
  for (size_t row = 0; row < source.head.size(); ++row) {
    if (name.ends_with(source.head.manifest()[row].name)) return static_cast<int64_t>(row);
  }
  return -1;
}

absl::Status CheckNothingIsLeft(const Source& source, const ParameterSet& state) {
  for (const TensorSpec& spec : source.weights.manifest()) {
    if (state.IndexOf(spec.name) < 0)
      return Bad("got " + rivulet::Describe(spec) +
                 ", which has no place in this base model under adapter_config.json");
  }
  return absl::OkStatus();
}

// Every tensor of the adapter into its place; what it lacks may only be a head.
absl::Status Fill(const Source& source, const AdapterPlan& plan, AdaptedModel& model) {
  for (const TrainedTensor& tensor : plan.tensors) {
    bool in_head = false;
    const int64_t row = source.given ? RowOf(source, tensor.spec.name, in_head) : -1;
    const bool head =
        tensor.role == TensorRole::kHeadWeight || tensor.role == TensorRole::kHeadBias;
    if (row >= 0) {
      RV_RETURN_IF_ERROR(Copy(in_head ? source.head : source.weights, static_cast<size_t>(row),
                              model.state,
                              static_cast<size_t>(model.state.IndexOf(tensor.spec.name))));
    } else if (head && tensor.starts_from.empty()) {
      if (tensor.role == TensorRole::kHeadWeight) model.untrained.push_back(tensor.module);
    } else if (source.given && !head && tensor.role != TensorRole::kBase) {
      return Bad("got no " + rivulet::Describe(tensor.spec) +
                 ", which adapter_config.json asks for in this base model");
    }
  }
  return source.given ? CheckNothingIsLeft(source, model.state) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<AdaptedModel> LoadAdaptedModel(const std::filesystem::path& base,
                                              const std::filesystem::path& adapter,
                                              const AdaptedModelOptions& options) {
  AdaptedModel model;
  model.directory = base;
  model.job.model.name = base.string();
  model.job.model.dtype = options.dtype;
  RV_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(base));
  RV_ASSIGN_OR_RETURN(const Source source, ReadSource(adapter, model.job));
  RV_RETURN_IF_ERROR(ChooseTask(options, source, config, model.job));
  RV_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(base));
  const absl::StatusOr<JobModel> described = DescribeJobModel(base, files, model.job);
  if (!described.ok()) return described.status();
  RV_ASSIGN_OR_RETURN(model.state, InitialState(described->plan, model.job.job.seed, &files));
  const absl::Status filled = Fill(source, described->plan, model);
  if (!filled.ok()) return Annotate(filled, adapter.string());
  RV_ASSIGN_OR_RETURN(model.base, LoadBaseModel(base, model.job));
  return model;
}

}  // namespace rivulet
