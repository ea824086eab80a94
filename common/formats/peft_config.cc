#include "common/formats/peft_config.h"

#include <algorithm>
#include <cmath>

#include "common/formats/json_fields.h"
#include "common/formats/peft_folder.h"
#include "common/formats/regex.h"

namespace rivulet {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// Together they bound the work on every module of the largest model to seconds. A match of a usual
// pattern takes tens of steps.
constexpr size_t kMostPatterns = 256;
constexpr uint32_t kPatternSteps = 2'000;
constexpr const char* kTaskTypes[] = {"SEQ_CLS",   "SEQ_2_SEQ_LM", "CAUSAL_LM",
                                      "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"};
// Options that change what the adapter computes. Anything but "off" is refused by name.
constexpr const char* kRefused[] = {
    "use_dora",          "lora_bias",         "fan_in_fan_out",
    "layer_replication", "target_parameters", "trainable_token_indices",
    "exclude_modules",   "use_qalora",        "alora_invocation_tokens",
    "arrow_config",      "kasa_config",       "velora_config",
    "use_bdlora",        "monteclora_config", "megatron_config"};

bool IsOff(const json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         ((value.is_array() || value.is_object()) && value.empty());
}

void CheckOptions(JsonFields& fields) {
  for (const char* key : kRefused) {
    if (fields.Has(key) && !IsOff(fields.Raw(key)))
      fields.Refuse(key, "none or false: not computed here", absl::StatusCode::kUnimplemented);
  }
  if (fields.Text("bias", "none") != "none")
    fields.Refuse("bias", "none", absl::StatusCode::kUnimplemented);
  // Starts that change the base weights make the file useless without them.
  if (!fields.Has("init_lora_weights")) return;
  const json& start = fields.Raw("init_lora_weights");
  const bool plain =
      start.is_boolean() || start == "gaussian" || start == "orthogonal" || start == "eva";
  if (!plain)
    fields.Refuse("init_lora_weights", "true, false, gaussian, orthogonal or eva",
                  absl::StatusCode::kUnimplemented);
}

void ReadTargets(JsonFields& fields, PeftLoraConfig& config) {
  if (fields.Has("target_modules") && fields.Raw("target_modules").is_string())
    config.target_pattern = fields.RequiredText("target_modules", 1000);
  else
    config.target_modules = fields.Texts("target_modules");
  std::sort(config.target_modules.begin(), config.target_modules.end());
  config.modules_to_save = fields.Texts("modules_to_save", 1000);
  std::sort(config.modules_to_save.begin(), config.modules_to_save.end());
}

// The same object with its keys as the file has them: of several that match, the first counts.
template <typename T>
absl::Status ReadPatterns(const ordered_json& document, JsonFields& fields, const char* key,
                          double most, std::vector<ModulePattern<T>>& patterns) {
  if (!fields.Has(key)) return absl::OkStatus();
  const ordered_json& map = document.at(key);
  if (!map.is_object() || map.size() > kMostPatterns) {
    fields.Refuse(key, "an object of at most 256 numbers by module name");
    return absl::OkStatus();
  }
  for (const auto& [name, value] : map.items()) {
    const bool good = value.is_number() && value.template get<double>() >= 1e-9 &&
                      value.template get<double>() <= most &&
                      (!std::is_integral_v<T> || value.is_number_integer());
    if (!good) {
      fields.Refuse(key, "positive numbers");
      return absl::OkStatus();
    }
    absl::StatusOr<Regex> pattern = Regex::CompileWhole("(.*\\.)?(" + name + ")", kPatternSteps);
    if (!pattern.ok()) return Annotate(pattern.status(), key);
    patterns.push_back(
        {name, value.template get<T>(), std::make_shared<const Regex>(*std::move(pattern))});
  }
  return absl::OkStatus();
}

template <typename T>
absl::StatusOr<T> Lookup(const std::vector<ModulePattern<T>>& patterns, const std::string& path,
                         T otherwise) {
  for (const ModulePattern<T>& pattern : patterns) {
    RV_ASSIGN_OR_RETURN(const bool hit, pattern.compiled->Matches(path));
    if (hit) return pattern.value;
  }
  return otherwise;
}

// 8 instead of 8.0, as Python writes an int.
json NumberJson(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15)
    return json(static_cast<int64_t>(value));
  return json(value);
}

json Sorted(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  return json(names);
}

}  // namespace

absl::StatusOr<int64_t> PeftLoraConfig::RankOf(const std::string& path) const {
  return Lookup(rank_pattern, path, rank);
}

absl::StatusOr<double> PeftLoraConfig::ScaleOf(const std::string& path) const {
  RV_ASSIGN_OR_RETURN(const int64_t own_rank, RankOf(path));
  RV_ASSIGN_OR_RETURN(const double own_alpha, Lookup(alpha_pattern, path, alpha));
  const double r = static_cast<double>(own_rank);
  return own_alpha / (use_rslora ? std::sqrt(r) : r);
}

absl::StatusOr<PeftLoraConfig> ParsePeftLoraConfig(std::string_view text) {
  RV_ASSIGN_OR_RETURN(const json document, ParseJson(text, {.bytes = 1 << 20, .depth = 16}));
  if (!document.is_object())
    return Refuse(absl::StatusCode::kInvalidArgument, "adapter_config: want a JSON object");
  JsonFields fields(document);
  if (fields.RequiredText("peft_type") != "LORA")
    fields.Refuse("peft_type", "LORA", absl::StatusCode::kUnimplemented);
  CheckOptions(fields);
  PeftLoraConfig config;
  config.base_model = fields.Text("base_model_name_or_path", "", 4096);
  config.task_type = fields.Text("task_type", "");
  if (!config.task_type.empty() && std::find(std::begin(kTaskTypes), std::end(kTaskTypes),
                                             config.task_type) == std::end(kTaskTypes))
    fields.Refuse("task_type",
                  "SEQ_CLS, SEQ_2_SEQ_LM, CAUSAL_LM, TOKEN_CLS, QUESTION_ANS, "
                  "FEATURE_EXTRACTION or null");
  config.rank = fields.Integer("r", 8, 1, 1 << 16);
  config.alpha = fields.Number("lora_alpha", 8, 1e-9, 1e9);
  config.dropout = fields.Number("lora_dropout", 0, 0, 1);
  config.use_rslora = fields.Boolean("use_rslora", false);
  config.layers_to_transform = fields.Integers("layers_to_transform", 0, 1 << 20, 1 << 16);
  // ParseJson was content with the text, so this reading of it cannot fail.
  const ordered_json in_order = ordered_json::parse(text.begin(), text.end());
  RV_RETURN_IF_ERROR(ReadPatterns(in_order, fields, "rank_pattern", 1 << 16, config.rank_pattern));
  RV_RETURN_IF_ERROR(ReadPatterns(in_order, fields, "alpha_pattern", 1e9, config.alpha_pattern));
  ReadTargets(fields, config);
  RV_RETURN_IF_ERROR(fields.status());
  return config;
}

std::string PeftLoraConfigText(const PeftLoraConfig& config) {
  ordered_json ranks = ordered_json::object(), alphas = ordered_json::object();
  for (const auto& entry : config.rank_pattern) ranks[entry.name] = entry.value;
  for (const auto& entry : config.alpha_pattern) alphas[entry.name] = NumberJson(entry.value);
  const json targets =
      config.target_pattern.empty() ? Sorted(config.target_modules) : json(config.target_pattern);
  const ordered_json document = {
      {"alpha_pattern", alphas},
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", OrNull(config.base_model)},
      {"bias", "none"},
      {"exclude_modules", nullptr},
      {"fan_in_fan_out", false},
      {"inference_mode", true},
      {"init_lora_weights", true},
      {"layers_pattern", nullptr},
      {"layers_to_transform", OrNull(config.layers_to_transform)},
      {"lora_alpha", NumberJson(config.alpha)},
      {"lora_dropout", config.dropout},
      {"modules_to_save", OrNull(Sorted(config.modules_to_save))},
      {"peft_type", "LORA"},
      {"peft_version", kPeftVersion},
      {"r", config.rank},
      {"rank_pattern", ranks},
      {"revision", nullptr},
      {"target_modules", targets},
      {"task_type", OrNull(config.task_type)},
      {"use_dora", false},
      {"use_rslora", config.use_rslora},
  };
  return document.dump(2);
}

}  // namespace rivulet
