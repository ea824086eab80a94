#include "common/formats/prompt_adapter.h"

#include <algorithm>

#include "common/formats/json_fields.h"
#include "common/formats/malformed.h"
#include "common/formats/peft_folder.h"

namespace rivulet {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr char kHeadPrefix[] = "base_model.";

json NumberOrNull(int64_t value) { return value == 0 ? json(nullptr) : json(value); }

}  // namespace

absl::StatusOr<PeftPromptConfig> ParsePeftPromptConfig(std::string_view text) {
  RV_ASSIGN_OR_RETURN(const json document, ParseJson(text, {.bytes = 1 << 20, .depth = 16}));
  if (!document.is_object()) return Malformed("adapter_config: want a JSON object");
  JsonFields fields(document);
  if (fields.RequiredText("peft_type") != "PROMPT_TUNING")
    fields.Refuse("peft_type", "PROMPT_TUNING", absl::StatusCode::kUnimplemented);
  PeftPromptConfig config;
  config.base_model = fields.Text("base_model_name_or_path", "", 4096);
  config.task_type = fields.Text("task_type", "");
  if (config.task_type != "CAUSAL_LM" && config.task_type != "SEQ_CLS")
    fields.Refuse("task_type", "CAUSAL_LM or SEQ_CLS", absl::StatusCode::kUnimplemented);
  if (fields.Integer("num_transformer_submodules", 1, 1, 16) != 1)
    fields.Refuse("num_transformer_submodules", "1", absl::StatusCode::kUnimplemented);
  config.num_virtual_tokens = fields.RequiredInteger("num_virtual_tokens", 1, 65536);
  config.token_dim = fields.RequiredInteger("token_dim", 1, 1 << 17);
  config.num_layers = fields.Integer("num_layers", 0, 0, 1 << 20);
  config.num_attention_heads = fields.Integer("num_attention_heads", 0, 0, 1 << 20);
  config.modules_to_save = fields.Texts("modules_to_save", 1000);
  // PEFT lists the pair of heads twice.
  std::vector<std::string>& saved = config.modules_to_save;
  std::sort(saved.begin(), saved.end());
  saved.erase(std::unique(saved.begin(), saved.end()), saved.end());
  RV_RETURN_IF_ERROR(fields.status());
  return config;
}

std::string PeftPromptConfigText(const PeftPromptConfig& config) {
  const ordered_json document = {
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", OrNull(config.base_model)},
      {"inference_mode", true},
      {"modules_to_save", OrNull(config.modules_to_save)},
      {"num_attention_heads", NumberOrNull(config.num_attention_heads)},
      {"num_layers", NumberOrNull(config.num_layers)},
      {"num_transformer_submodules", 1},
      {"num_virtual_tokens", config.num_virtual_tokens},
      {"peft_type", "PROMPT_TUNING"},
      {"peft_version", kPeftVersion},
      {"prompt_tuning_init", "RANDOM"},
      {"prompt_tuning_init_text", nullptr},
      {"revision", nullptr},
      {"task_type", OrNull(config.task_type)},
      {"token_dim", config.token_dim},
      {"tokenizer_kwargs", nullptr},
      {"tokenizer_name_or_path", nullptr},
  };
  return document.dump(2);
}

absl::StatusOr<PromptAdapter> MakePromptAdapter(PeftPromptConfig config, ParameterSet weights) {
  const std::vector<int64_t> shape = {config.num_virtual_tokens, config.token_dim};
  bool found = false;
  for (const TensorSpec& spec : weights.manifest()) {
    const bool prompt = spec.name == kPromptKey;
    if (prompt && spec.shape != shape) {
      return Malformed("adapter: got " + rivulet::Describe(spec) + ", want [" +
                       std::to_string(shape[0]) + "," + std::to_string(shape[1]) +
                       "] (num_virtual_tokens, token_dim)");
    }
    if (!prompt && !spec.name.starts_with(kHeadPrefix)) {
      return Malformed("adapter key: got '" + spec.name + "', want " + kPromptKey + " or " +
                       kHeadPrefix + "...");
    }
    if (spec.dtype != DType::kF32 && spec.dtype != DType::kBF16 && spec.dtype != DType::kF16) {
      return Refuse(absl::StatusCode::kUnimplemented,
                    "adapter tensor: got " + rivulet::Describe(spec) + ", want F32, BF16 or F16");
    }
    found |= prompt;
  }
  if (!found) return Malformed(std::string("adapter: got no ") + kPromptKey + ", want it");
  return PromptAdapter{std::move(config), std::move(weights)};
}

absl::StatusOr<PromptAdapter> PromptAdapterOf(const JobModel& model, const JobSpec& job,
                                              ParameterSet state) {
  if (!model.plan.prompt)
    return Malformed("export: got method '" + model.plan.method + "', want prompt");
  RV_RETURN_IF_ERROR(SameManifest(state.manifest(), model.plan.full()));
  const bool classifies = model.config.head == ModelHead::kSequenceClassification;
  PeftPromptConfig config;
  config.base_model = job.model.name;
  config.task_type = classifies ? "SEQ_CLS" : "CAUSAL_LM";
  config.num_virtual_tokens = model.plan.prompt->tokens;
  config.token_dim = model.plan.prompt->hidden;
  config.num_layers = model.config.num_hidden_layers;
  config.num_attention_heads = model.config.num_attention_heads;
  config.modules_to_save = model.plan.saved_modules;
  for (const char* head : {"classifier", "score"}) {  // PEFT puts this pair there for the task
    auto& saved = config.modules_to_save;
    if (classifies && std::find(saved.begin(), saved.end(), head) == saved.end())
      saved.push_back(head);
  }
  std::sort(config.modules_to_save.begin(), config.modules_to_save.end());
  return MakePromptAdapter(std::move(config), std::move(state));
}

absl::StatusOr<PromptAdapter> ReadPromptDirectory(const std::filesystem::path& directory) {
  RV_ASSIGN_OR_RETURN(PeftFolder folder, ReadPeftFolder(directory));
  absl::StatusOr<PeftPromptConfig> config = ParsePeftPromptConfig(folder.config);
  if (!config.ok()) return Annotate(config.status(), (directory / kPeftConfigFile).string());
  absl::StatusOr<PromptAdapter> adapter =
      MakePromptAdapter(*std::move(config), std::move(folder.weights));
  if (!adapter.ok()) return Annotate(adapter.status(), directory.string());
  return adapter;
}

absl::Status WritePromptDirectory(const std::filesystem::path& directory,
                                  const PromptAdapter& adapter) {
  return WritePeftFolder(directory, PeftPromptConfigText(adapter.config), adapter.weights);
}

int64_t HeadClasses(const PromptAdapter& adapter) {
  for (const TensorSpec& spec : adapter.weights.manifest()) {
    const bool head =
        spec.name == "base_model.classifier.weight" || spec.name == "base_model.score.weight";
    if (head && spec.shape.size() == 2) return spec.shape[0];
  }
  return 0;
}

}  // namespace rivulet
