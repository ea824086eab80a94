#include "common/formats/adapter_hub.h"

#include <algorithm>

#include "common/formats/json_fields.h"
#include "common/formats/malformed.h"
#include "common/formats/safetensors_writer.h"
#include "common/io/file.h"

namespace rivulet {
namespace {

using nlohmann::json;

constexpr char kHubConfigFile[] = "adapter_config.json";
constexpr char kHubWeightsFile[] = "adapter.safetensors";
constexpr char kHeadConfigFile[] = "head_config.json";
constexpr char kHeadFile[] = "model_head.safetensors";
constexpr char kVersion[] = "adapters.1.2.0";
constexpr JsonLimits kLimits = {.bytes = 1 << 20, .depth = 8};

// The library's fields of a seq_bn adapter. Those under `decides` change the arithmetic and must
// have this value when read; the others may have any.
json SeqBn() {
  return {{"adapter_residual_before_ln", false},
          {"cross_adapter", false},
          {"dropout", 0.0},
          {"factorized_phm_W", true},
          {"factorized_phm_rule", false},
          {"hypercomplex_nonlinearity", "glorot-uniform"},
          {"init_weights", "bert"},
          {"init_weights_seed", nullptr},
          {"inv_adapter", nullptr},
          {"inv_adapter_reduction_factor", nullptr},
          {"is_parallel", false},
          {"learn_phm", true},
          {"leave_out", json::array()},
          {"ln_after", false},
          {"ln_before", false},
          {"mh_adapter", false},
          {"non_linearity", "relu"},
          {"original_ln_after", true},
          {"original_ln_before", true},
          {"output_adapter", true},
          {"phm_bias", true},
          {"phm_c_init", "normal"},
          {"phm_dim", 4},
          {"phm_init_range", 0.0001},
          {"phm_layer", false},
          {"phm_rank", 1},
          {"reduction_factor", 16},
          {"residual_before_ln", true},
          {"scaling", 1.0},
          {"shared_W_phm", false},
          {"shared_phm_rule", true},
          {"stochastic_depth", 0.0},
          {"use_gating", false}};
}
constexpr const char* kDeciding[] = {"adapter_residual_before_ln",
                                     "cross_adapter",
                                     "inv_adapter",
                                     "is_parallel",
                                     "ln_after",
                                     "ln_before",
                                     "mh_adapter",
                                     "original_ln_after",
                                     "original_ln_before",
                                     "output_adapter",
                                     "phm_layer",
                                     "residual_before_ln",
                                     "scaling",
                                     "use_gating"};
// Defaults of the library where they differ from seq_bn: an absent key means these.
json AbsentValue(const std::string& key) {
  if (key == "original_ln_before") return false;
  if (key == "mh_adapter" || key == "output_adapter") return nullptr;  // required
  return SeqBn()[key];
}

void CheckDeciding(JsonFields& fields) {
  const json wanted = SeqBn();
  for (const char* key : kDeciding) {
    const json got = fields.Has(key) ? fields.Raw(key) : AbsentValue(key);
    if (got != wanted[key])
      fields.Refuse(key, wanted[key].dump() + " (seq_bn)", absl::StatusCode::kUnimplemented);
  }
}

bool IsKnownActivation(const std::string& name) {
  return name == "relu" || name == "gelu" || name == "swish" || name == "tanh";
}

absl::Status ReadBody(const json& body, AdapterHubConfig& config) {
  JsonFields fields(body, "config.");
  CheckDeciding(fields);
  config.reduction_factor = fields.RequiredInteger("reduction_factor", 1, 1 << 17);
  config.non_linearity = fields.RequiredText("non_linearity");
  if (!IsKnownActivation(config.non_linearity))
    fields.Refuse("non_linearity", "relu, gelu, swish or tanh", absl::StatusCode::kUnimplemented);
  config.leave_out = fields.Integers("leave_out", 0, 1 << 16);
  return fields.status();
}

std::string HeadConfigText(const BottleneckAdapter& adapter) {
  json labels = json::object();
  for (size_t label = 0; label < adapter.labels.size(); ++label)
    labels[adapter.labels[label]] = label;
  const json document = {{"config", nullptr},
                         {"hidden_size", adapter.config.hidden_size},
                         {"label2id", labels},
                         {"model_class", adapter.config.model_class},
                         {"model_name", adapter.config.model_name},
                         {"model_type", adapter.config.model_type},
                         {"name", nullptr},
                         {"num_labels", adapter.labels.size()},
                         {"version", kVersion}};
  return document.dump(2);
}

absl::StatusOr<std::vector<std::string>> ParseLabels(std::string_view text) {
  RV_ASSIGN_OR_RETURN(const json document, ParseJson(text, kLimits));
  if (!document.is_object() || !document.contains("label2id") || !document["label2id"].is_object())
    return Malformed("label2id: want an object of class numbers by name");
  const json& map = document["label2id"];
  std::vector<std::string> labels(map.size());
  std::vector<bool> taken(map.size());
  for (const auto& [name, number] : map.items()) {
    if (!number.is_number_unsigned() || number.get<uint64_t>() >= labels.size())
      return Malformed("label2id['" + name + "']: got " + number.dump().substr(0, 40) +
                       ", want 0.." + std::to_string(labels.size() - 1));
    const size_t label = number.get<uint64_t>();
    if (taken[label])
      return Malformed("label2id['" + name + "']: got " + std::to_string(label) +
                       " for a second class");
    taken[label] = true;
    labels[label] = name;
  }
  return labels;
}

// Moves the rows that `keep` wants into a set of their own, under the name that `rename` gives.
ParameterSet Subset(const ParameterSet& set, const auto& keep, const auto& rename) {
  std::vector<std::pair<TensorSpec, size_t>> rows;
  for (size_t row = 0; row < set.size(); ++row) {
    TensorSpec spec = set.manifest()[row];
    if (!keep(spec.name)) continue;
    spec.name = rename(spec.name);
    rows.push_back({std::move(spec), row});
  }
  std::sort(rows.begin(), rows.end(),
            [](const auto& left, const auto& right) { return left.first.name < right.first.name; });
  Manifest manifest;
  for (const auto& [spec, row] : rows) manifest.push_back(spec);
  ParameterSet subset(std::move(manifest));
  for (size_t row = 0; row < rows.size(); ++row) {
    const std::span<const std::byte> from = set.bytes(rows[row].second);
    std::copy(from.begin(), from.end(), subset.bytes(row).begin());
  }
  return subset;
}

bool IsAdapterKey(const std::string& key) { return key.find(".adapters.") != key.npos; }

std::string Same(const std::string& key) { return key; }

absl::Status CheckKeys(const BottleneckAdapter& adapter) {
  const std::string part = ".adapters." + adapter.config.name + ".adapter_";
  for (const TensorSpec& spec : adapter.weights.manifest()) {
    if (spec.name.find(part) == spec.name.npos)
      return Malformed("adapter key: got '" + spec.name + "', want ..." + part + "...");
  }
  for (const ParameterSet* set : {&adapter.weights, &adapter.head}) {
    for (const TensorSpec& spec : set->manifest()) {
      if (spec.dtype != DType::kF32 && spec.dtype != DType::kBF16 && spec.dtype != DType::kF16)
        return Refuse(absl::StatusCode::kUnimplemented,
                      "adapter tensor: got " + Describe(spec) + ", want F32, BF16 or F16");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AdapterHubConfig> ParseAdapterHubConfig(std::string_view text) {
  RV_ASSIGN_OR_RETURN(const json document, ParseJson(text, kLimits));
  if (!document.is_object()) return Malformed("adapter_config: want a JSON object");
  JsonFields fields(document);
  AdapterHubConfig config;
  config.name = fields.RequiredText("name", 100);
  const bool plain =
      config.name.find_first_not_of(
          "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == config.name.npos;
  if (!plain || config.name.empty()) fields.Refuse("name", "[A-Za-z0-9_]+");
  config.model_name = fields.Text("model_name", "", 4096);
  config.model_type = fields.RequiredText("model_type");
  config.model_class = fields.Text("model_class", "");
  config.hidden_size = fields.RequiredInteger("hidden_size", 1, 1 << 17);
  // Without a version the library reads gelu as gelu_new.
  if (!fields.RequiredText("version").starts_with("adapters."))
    fields.Refuse("version", "adapters.<number>", absl::StatusCode::kUnimplemented);
  if (!fields.Has("config") || !fields.Raw("config").is_object())
    fields.Refuse("config", "an object");
  RV_RETURN_IF_ERROR(fields.status());
  RV_RETURN_IF_ERROR(ReadBody(document.at("config"), config));
  return config;
}

std::string AdapterHubConfigText(const AdapterHubConfig& config) {
  json body = SeqBn();
  body["reduction_factor"] = config.reduction_factor;
  body["non_linearity"] = config.non_linearity;
  body["leave_out"] = config.leave_out;
  const json document = {{"config", body},
                         {"hidden_size", config.hidden_size},
                         {"model_class", config.model_class},
                         {"model_name", config.model_name},
                         {"model_type", config.model_type},
                         {"name", config.name},
                         {"version", kVersion}};
  return document.dump(2);
}

absl::StatusOr<BottleneckAdapter> BottleneckAdapterOf(const JobModel& model, const JobSpec& job,
                                                      const ParameterSet& state) {
  if (model.plan.method != "adapter")
    return Malformed("export: got method '" + model.plan.method + "', want adapter");
  RV_RETURN_IF_ERROR(SameManifest(state.manifest(), model.plan.full()));
  const bool classifies = model.config.head == ModelHead::kSequenceClassification;
  const std::string family = model.config.family == ModelFamily::kBert ? "Bert" : "Llama";
  BottleneckAdapter adapter;
  adapter.config.name = kAdapterName;
  adapter.config.model_name = job.model.name;
  adapter.config.model_type = model.config.model_type;
  adapter.config.model_class = family + (classifies ? "ForSequenceClassification" : "ForCausalLM");
  adapter.config.hidden_size = model.config.hidden_size;
  adapter.config.reduction_factor = job.adapter.reduction_factor;
  adapter.config.non_linearity = job.adapter.non_linearity;
  adapter.config.leave_out.assign(job.adapter.leave_out.begin(), job.adapter.leave_out.end());
  adapter.weights = Subset(state, IsAdapterKey, Same);
  adapter.head = Subset(
      state, [](const std::string& key) { return !IsAdapterKey(key); }, Same);
  if (classifies) adapter.labels = model.config.labels;
  return adapter;
}

BottleneckAdapter Renamed(const BottleneckAdapter& adapter, const std::string& name) {
  BottleneckAdapter renamed = adapter;
  const std::string from = ".adapters." + adapter.config.name + ".";
  renamed.config.name = name;
  renamed.weights = Subset(
      adapter.weights, [](const std::string&) { return true; },
      [&](std::string key) {
        const size_t at = key.find(from);
        return at == key.npos ? key : key.replace(at, from.size(), ".adapters." + name + ".");
      });
  return renamed;
}

absl::StatusOr<BottleneckAdapter> ReadAdapterHubDirectory(const std::filesystem::path& directory) {
  BottleneckAdapter adapter;
  RV_ASSIGN_OR_RETURN(const std::string text, ReadFile(directory / kHubConfigFile, kLimits.bytes));
  absl::StatusOr<AdapterHubConfig> config = ParseAdapterHubConfig(text);
  if (!config.ok()) return Annotate(config.status(), (directory / kHubConfigFile).string());
  adapter.config = *std::move(config);
  if (!std::filesystem::exists(directory / kHubWeightsFile) &&
      std::filesystem::exists(directory / "pytorch_adapter.bin"))
    return Malformed(directory.string() +
                     ": got pytorch_adapter.bin, which can run code when read; want " +
                     kHubWeightsFile);
  RV_ASSIGN_OR_RETURN(adapter.weights, ReadParameterSetFile(directory / kHubWeightsFile));
  const bool head_apart = std::filesystem::exists(directory / kHeadFile);
  if (head_apart) {
    RV_ASSIGN_OR_RETURN(adapter.head, ReadParameterSetFile(directory / kHeadFile));
  }
  if (absl::Status keys = CheckKeys(adapter); !keys.ok()) return Annotate(keys, directory.string());
  if (!head_apart) return adapter;
  RV_ASSIGN_OR_RETURN(const std::string head, ReadFile(directory / kHeadConfigFile, kLimits.bytes));
  absl::StatusOr<std::vector<std::string>> labels = ParseLabels(head);
  if (!labels.ok()) return Annotate(labels.status(), (directory / kHeadConfigFile).string());
  adapter.labels = *std::move(labels);
  return adapter;
}

absl::Status WriteAdapterHubDirectory(const std::filesystem::path& directory,
                                      const BottleneckAdapter& adapter) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return FileError(directory, "create", error.value());
  RV_RETURN_IF_ERROR(WriteSafetensors(directory / kHubWeightsFile, ViewsOf(adapter.weights),
                                      SafetensorsMetadata()));
  if (adapter.head.empty()) {  // a reader would take up one that was there before
    std::filesystem::remove(directory / kHeadFile, error);
    std::filesystem::remove(directory / kHeadConfigFile, error);
  } else {
    RV_RETURN_IF_ERROR(
        WriteSafetensors(directory / kHeadFile, ViewsOf(adapter.head), SafetensorsMetadata()));
    RV_RETURN_IF_ERROR(WriteFileAtomically(directory / kHeadConfigFile, HeadConfigText(adapter)));
  }
  return WriteFileAtomically(directory / kHubConfigFile, AdapterHubConfigText(adapter.config));
}

}  // namespace rivulet
