#include "common/job/job_model.h"

#include <algorithm>

#include "common/formats/safetensors_writer.h"
#include "common/io/file.h"
#include "common/io/sha256.h"
#include "common/job/target_cosine.h"

namespace rivulet {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;

bool UnderModule(const std::string& tensor, const std::string& module) {
  return tensor.starts_with(module) &&
         (tensor.size() == module.size() || tensor[module.size()] == '.');
}

// Every client must number the classes alike, also one whose data lack some.
absl::Status FillLabels(const std::filesystem::path& directory, JobSpec& spec) {
  if (spec.data.task != "classification" || !spec.data.labels.empty()) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(spec.data.labels, HeadLabels(directory));
  if (!spec.data.labels.empty()) return spec.Validate();
  return WithExit(
      Refuse(absl::StatusCode::kInvalidArgument,
             "data.labels: got none, and the head of " + directory.string() +
                 " names no classes; want all class names in order, because each client would "
                 "number its own (rivulet simulate fills in the labels of all its data)"),
      ExitCode::kConfig);
}

// Each client would find it out for itself, after it has loaded the base model.
absl::Status CheckLength(const ModelConfig& config, const JobSpec& spec) {
  const int64_t longest = LongestExample(config, spec), taken = LongestSequence(config) - longest;
  if (spec.data.seq_length <= longest) return absl::OkStatus();
  return WithExit(
      Refuse(absl::StatusCode::kInvalidArgument,
             "data.seq-length: got " + std::to_string(spec.data.seq_length) + ", want at most " +
                 std::to_string(longest) +
                 ", the longest sequence of the base model (max_position_embeddings = " +
                 std::to_string(config.max_position_embeddings) + ")" +
                 (taken > 0 ? " behind " + std::to_string(taken) + " virtual tokens" : "")),
      ExitCode::kConfig);
}

int64_t TrainedNumbers(const AdapterPlan& plan) {
  int64_t numbers = 0;
  for (const TensorSpec& tensor : plan.wire()) numbers += tensor.elements();
  return numbers;
}

// The safetensors file of what starts from the base model; empty when nothing does.
absl::StatusOr<std::string> BaseTensorsOf(const AdapterPlan& plan, const ModelFiles& files) {
  if (plan.from_base().empty()) return std::string();
  RV_ASSIGN_OR_RETURN(const ParameterSet values, BaseTensors(plan, files));
  return SafetensorsBytes(values);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> HeadLabels(const std::filesystem::path& directory) {
  RV_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  const auto& labels = config.labels;
  size_t placeholders = 0;
  for (size_t label = 0; label < labels.size(); ++label)
    placeholders += labels[label] == "LABEL_" + std::to_string(label);
  const bool named =
      config.head == ModelHead::kSequenceClassification && placeholders < labels.size();
  return named ? labels : std::vector<std::string>();
}

absl::StatusOr<JobDocument> DescribeJob(const std::filesystem::path& directory, JobSpec spec) {
  RV_RETURN_IF_ERROR(spec.Validate());
  RV_RETURN_IF_ERROR(FillLabels(directory, spec));
  JobDocument document;
  RV_ASSIGN_OR_RETURN(document.base_hash, HashOfBaseModel(directory));
  if (!spec.model.hash.empty() && spec.model.hash != document.base_hash) {
    return WithExit(Refuse(absl::StatusCode::kFailedPrecondition,
                           "model.hash: " + directory.string() + " is " + document.base_hash +
                               ", want " + spec.model.hash),
                    ExitCode::kPolicy);
  }
  spec.model.hash = document.base_hash;
  RV_ASSIGN_OR_RETURN(document.model_config, ReadFile(directory / "config.json", kMaxConfigBytes));
  RV_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(directory));
  RV_ASSIGN_OR_RETURN(const JobModel model, DescribeJobModel(directory, files, spec));
  RV_RETURN_IF_ERROR(CheckLength(model.config, spec));
  RV_RETURN_IF_ERROR(FillQueries(TrainedNumbers(model.plan), spec));
  document.heads_missing = model.match.missing_heads;
  RV_ASSIGN_OR_RETURN(const std::string base_tensors, BaseTensorsOf(model.plan, files));
  if (!base_tensors.empty()) document.base_tensors = Sha256Hex(base_tensors);
  document.spec = std::move(spec);
  return document;
}

absl::StatusOr<std::string> BaseTensorsFile(const std::filesystem::path& directory,
                                            const JobDocument& document) {
  if (document.base_tensors.empty()) return std::string();
  RV_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(directory));
  RV_ASSIGN_OR_RETURN(const JobModel model, DescribeJobModel(directory, files, document.spec));
  RV_ASSIGN_OR_RETURN(std::string file, BaseTensorsOf(model.plan, files));
  const std::string got = Sha256Hex(file);
  if (got == document.base_tensors) return file;
  return WithExit(Refuse(absl::StatusCode::kFailedPrecondition,
                         directory.string() + ": got base tensors with hash " + got + ", want " +
                             document.base_tensors),
                  ExitCode::kPolicy);
}

absl::StatusOr<JobModel> JobModelOf(const JobDocument& document) {
  JobModel model;
  RV_ASSIGN_OR_RETURN(ModelConfig config, ParseModelConfig(document.model_config));
  RV_ASSIGN_OR_RETURN(
      model.config, ForTask(std::move(config), document.spec.data.task, document.spec.data.labels));
  RV_RETURN_IF_ERROR(CheckLength(model.config, document.spec));
  model.match.missing_heads = document.heads_missing;
  for (const ExpectedTensor& tensor : ExpectedTensors(model.config)) {
    const bool missing =
        std::any_of(document.heads_missing.begin(), document.heads_missing.end(),
                    [&](const std::string& head) { return UnderModule(tensor.name, head); });
    if (!missing) model.match.file_name_of[tensor.name] = tensor.name;
  }
  RV_ASSIGN_OR_RETURN(model.plan, PlanAdapter(model.config, model.match, document.spec));
  RV_RETURN_IF_ERROR(CheckQueries(TrainedNumbers(model.plan), document.spec));
  return model;
}

}  // namespace rivulet
