#include <algorithm>
#include <cstdio>
#include <map>

#include "common/formats/adapter_directory.h"
#include "common/formats/json.h"
#include "common/terminal/progress.h"
#include "peft/tools/output.h"
#include "peft/tools/tokenizer_summary.h"
#include "peft/tools/verbs.h"

namespace rivulet {
namespace {

void Line(const char* key, const std::string& value) {
  std::printf("  %-12s %s\n", key, value.c_str());
}

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

OrderedJson TensorsJson(const std::vector<TensorSpec>& specs) {
  OrderedJson tensors = OrderedJson::array();
  for (const TensorSpec& spec : specs)
    tensors.push_back({{"name", spec.name}, {"dtype", NameOf(spec.dtype)}, {"shape", spec.shape}});
  return tensors;
}

// What the tensors are together.
struct Totals {
  uint64_t parameters = 0, bytes = 0;
  std::map<std::string, size_t> dtypes;  // -> tensors

  explicit Totals(const std::vector<TensorSpec>& specs) {
    for (const TensorSpec& spec : specs) {
      parameters += static_cast<uint64_t>(spec.elements());
      bytes += spec.size_bytes();
      ++dtypes[std::string(NameOf(spec.dtype))];
    }
  }
  // "299008 parameters in 112 tensors (F32), 1.1 MiB"
  std::string Text() const {
    size_t tensors = 0;
    std::vector<std::string> parts;
    for (const auto& [dtype, count] : dtypes) {
      tensors += count;
      parts.push_back(dtypes.size() == 1 ? dtype : std::to_string(count) + " " + dtype);
    }
    return std::to_string(parameters) + " in " + std::to_string(tensors) + " tensors (" +
           Joined(parts) + "), " + HumanBytes(bytes);
  }
};

void PrintTensors(const std::vector<TensorSpec>& specs) {
  std::printf("tensors\n");
  for (const TensorSpec& spec : specs) std::printf("  %s\n", Describe(spec).c_str());
}

// ---- models

const char* HeadName(ModelHead head) {
  if (head == ModelHead::kCausalLm) return "causal-lm";
  return head == ModelHead::kSequenceClassification ? "classification" : "none";
}

std::string TokenizerText(const TokenizerSummary& tokenizer) {
  if (!tokenizer.unsupported.empty()) return "not usable here: " + tokenizer.unsupported;
  if (tokenizer.kind.empty()) return "none";
  std::vector<std::string> parts = {tokenizer.kind,
                                    std::to_string(tokenizer.vocabulary) + " tokens"};
  for (const auto& [role, id] : tokenizer.special) parts.push_back(role + " " + std::to_string(id));
  return Joined(parts);
}

OrderedJson TokenizerJson(const TokenizerSummary& tokenizer) {
  if (!tokenizer.unsupported.empty()) return {{"unsupported", tokenizer.unsupported}};
  if (tokenizer.kind.empty()) return nullptr;
  OrderedJson special = OrderedJson::object();
  for (const auto& [role, id] : tokenizer.special) special[role] = id;
  return {{"kind", tokenizer.kind}, {"vocabulary", tokenizer.vocabulary}, {"special", special}};
}

void PrintModel(const std::string& where, const ModelConfig& config, const Totals& totals,
                const TokenizerSummary& tokenizer, const std::string& hash) {
  const auto text = [](int64_t value) { return std::to_string(value); };
  std::printf("%s: %s model\n", where.c_str(), config.model_type.c_str());
  Line("class", config.architecture.empty() ? "not named" : config.architecture);
  Line("layers", text(config.num_hidden_layers));
  Line("hidden", text(config.hidden_size) + ", inner " + text(config.intermediate_size));
  Line("attention", text(config.num_attention_heads) + " heads of " + text(config.head_dim) + ", " +
                        text(config.num_key_value_heads) + " for keys and values");
  Line("positions", text(config.max_position_embeddings));
  Line("vocabulary", text(config.vocab_size));
  Line("head", std::string(HeadName(config.head)) +
                   (config.tie_word_embeddings && config.head == ModelHead::kCausalLm
                        ? ", tied to the embedding"
                        : ""));
  if (config.head == ModelHead::kSequenceClassification) Line("labels", Joined(config.labels));
  Line("parameters", totals.Text());
  Line("tokenizer", TokenizerText(tokenizer));
  Line("hash", hash);
}

// A model that is not computed here, because of its family or of something else in config.json:
// what can be said without that.
absl::Status InspectUnsupported(const ModelToolOptions& options, const absl::Status& why) {
  const std::filesystem::path directory(options.model);
  RV_ASSIGN_OR_RETURN(const nlohmann::json config, ReadJson(directory / "config.json"));
  const std::string family = config.value("model_type", nlohmann::json()).is_string()
                                 ? config["model_type"].get<std::string>()
                                 : std::string("unnamed");
  RV_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(directory));
  RV_ASSIGN_OR_RETURN(const TokenizerSummary tokenizer, SummarizeTokenizer(directory));
  RV_ASSIGN_OR_RETURN(const std::string hash, HashOfBaseModel(directory));
  const std::vector<TensorSpec> specs = files.specs();
  const Totals totals(specs);
  const std::string reason(why.message());
  if (!options.json()) {
    std::printf("%s: %s model, not supported for tuning\n", options.model.c_str(), family.c_str());
    Line("because", reason);
    Line("parameters", totals.Text());
    Line("tokenizer", TokenizerText(tokenizer));
    Line("hash", hash);
    PrintTensors(specs);
    return absl::OkStatus();
  }
  PrintJson({{"api", "rivulet/v1"},
             {"kind", "Model"},
             {"family", family},
             {"unsupported", reason},
             {"parameters", totals.parameters},
             {"bytes", totals.bytes},
             {"dtypes", totals.dtypes},
             {"tokenizer", TokenizerJson(tokenizer)},
             {"hash", hash},
             {"tensors", TensorsJson(specs)}});
  return absl::OkStatus();
}

absl::Status InspectModel(const ModelToolOptions& options) {
  const std::filesystem::path directory(options.model);
  const absl::StatusOr<ModelConfig> read = ReadModelConfig(directory);
  if (read.status().code() == absl::StatusCode::kUnimplemented)
    return InspectUnsupported(options, read.status());
  RV_RETURN_IF_ERROR(read.status());
  const ModelConfig& config = *read;
  RV_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(directory));
  RV_ASSIGN_OR_RETURN(const TokenizerSummary tokenizer, SummarizeTokenizer(directory));
  RV_ASSIGN_OR_RETURN(const std::string hash, HashOfBaseModel(directory));
  const std::vector<TensorSpec> specs = files.specs();
  const Totals totals(specs);
  if (!options.json()) {
    PrintModel(options.model, config, totals, tokenizer, hash);
    PrintTensors(specs);
    return absl::OkStatus();
  }
  OrderedJson object = {{"api", "rivulet/v1"},
                        {"kind", "Model"},
                        {"family", config.model_type},
                        {"architecture", config.architecture},
                        {"layers", config.num_hidden_layers},
                        {"hidden_size", config.hidden_size},
                        {"vocabulary", config.vocab_size},
                        {"positions", config.max_position_embeddings},
                        {"head", HeadName(config.head)}};
  if (config.head == ModelHead::kSequenceClassification) object["labels"] = config.labels;
  object["parameters"] = totals.parameters;
  object["bytes"] = totals.bytes;
  object["dtypes"] = totals.dtypes;
  object["tokenizer"] = TokenizerJson(tokenizer);
  object["hash"] = hash;
  object["tensors"] = TensorsJson(specs);
  PrintJson(object);
  return absl::OkStatus();
}

// ---- adapters

// rivulet_provenance.json when it is there and readable; its word is not checked.
OrderedJson ProvenanceOf(const std::filesystem::path& directory) {
  const auto document = ReadJson(directory / "rivulet_provenance.json", {.bytes = 1 << 16});
  return document.ok() ? OrderedJson::parse(document->dump()) : OrderedJson(nullptr);
}

void PrintProvenance(const OrderedJson& provenance) {
  if (!provenance.is_object()) return;
  const auto text = [&](const char* key) {
    const auto found = provenance.find(key);
    if (found == provenance.end() || found->is_null()) return std::string();
    return found->is_string() ? found->get<std::string>() : found->dump();
  };
  if (!text("job").empty()) Line("job", text("job") + ", round " + text("round"));
  if (!text("base_model_hash").empty()) Line("trained on", text("base_model_hash"));
  if (!text("epsilon").empty())
    Line("privacy", "epsilon " + text("epsilon") + ", delta " + text("delta"));
}

OrderedJson ToJson(const LoraAdapter& adapter) {
  const PeftLoraConfig& config = adapter.config;
  OrderedJson modules = OrderedJson::array();
  for (const LoraFactors& factors : adapter.factors)
    modules.push_back({{"module", factors.path}, {"rank", factors.rank}, {"scale", factors.scale}});
  OrderedJson saved = OrderedJson::array();
  for (size_t row : adapter.saved) saved.push_back(adapter.SavedName(row));
  return {{"method", "lora"},
          {"base_model", config.base_model},
          {"task_type", config.task_type},
          {"r", config.rank},
          {"lora_alpha", config.alpha},
          {"use_rslora", config.use_rslora},
          {"saved", saved},
          {"modules", modules}};
}

OrderedJson ToJson(const BottleneckAdapter& adapter) {
  OrderedJson head = OrderedJson::array();
  for (const TensorSpec& spec : adapter.head.manifest()) head.push_back(spec.name);
  return {{"method", "seq_bn"},
          {"base_model", adapter.config.model_name},
          {"name", adapter.config.name},
          {"model_class", adapter.config.model_class},
          {"reduction_factor", adapter.config.reduction_factor},
          {"non_linearity", adapter.config.non_linearity},
          {"leave_out", adapter.config.leave_out},
          {"head", head},
          {"labels", adapter.labels}};
}

OrderedJson ToJson(const PromptAdapter& adapter) {
  OrderedJson saved = OrderedJson::array();
  for (const TensorSpec& spec : adapter.weights.manifest()) {
    if (spec.name != kPromptKey) saved.push_back(spec.name);
  }
  return {{"method", "prompt"},
          {"base_model", adapter.config.base_model},
          {"task_type", adapter.config.task_type},
          {"num_virtual_tokens", adapter.config.num_virtual_tokens},
          {"token_dim", adapter.config.token_dim},
          {"saved", saved}};
}

void PrintConfig(const PromptAdapter& adapter) {
  const PeftPromptConfig& config = adapter.config;
  Line("method", "soft prompt (PEFT prompt tuning)");
  if (!config.base_model.empty()) Line("base", config.base_model);
  Line("task", config.task_type);
  Line("prompt", std::to_string(config.num_virtual_tokens) + " virtual tokens of width " +
                     std::to_string(config.token_dim));
}

OrderedJson ToJson(const WholeTensors&) { return {{"method", "full"}}; }

void PrintConfig(const LoraAdapter& adapter) {
  const PeftLoraConfig& config = adapter.config;
  Line("method", "LoRA (PEFT)" + std::string(config.use_rslora ? ", rank-stabilised" : ""));
  if (!config.base_model.empty()) Line("base", config.base_model);
  if (!config.task_type.empty()) Line("task", config.task_type);
  Line("rank", "r " + std::to_string(config.rank) + ", alpha " + Number(config.alpha));
}

void PrintConfig(const BottleneckAdapter& adapter) {
  const AdapterHubConfig& config = adapter.config;
  Line("method", "bottleneck adapter (AdapterHub seq_bn), named " + config.name);
  if (!config.model_name.empty()) Line("base", config.model_name);
  if (!config.model_class.empty()) Line("class", config.model_class);
  Line("width", std::to_string(std::max<int64_t>(1, config.hidden_size / config.reduction_factor)) +
                    " (" + std::to_string(config.hidden_size) + " / " +
                    std::to_string(config.reduction_factor) + "), " + config.non_linearity);
  std::vector<std::string> layers;
  for (int64_t layer : config.leave_out) layers.push_back(std::to_string(layer));
  if (!layers.empty()) Line("without", "layers " + Joined(layers));
  if (!adapter.labels.empty()) Line("labels", Joined(adapter.labels));
}

void PrintConfig(const WholeTensors& tensors) {
  Line("method", "tensors of the base model itself (full)");
  if (HeadClasses(tensors) > 0) Line("classes", std::to_string(HeadClasses(tensors)));
}

void PrintModules(const LoraAdapter& adapter) {
  std::printf("modules\n");
  for (const LoraFactors& factors : adapter.factors)
    std::printf("  %-48s r %lld, scale %g\n", factors.path.c_str(),
                static_cast<long long>(factors.rank), factors.scale);
  if (adapter.saved.empty()) return;
  std::printf("saved whole\n");
  for (size_t row : adapter.saved) {
    TensorSpec spec = adapter.weights.manifest()[row];
    spec.name = adapter.SavedName(row);
    std::printf("  %s\n", Describe(spec).c_str());
  }
}

void PrintModules(const BottleneckAdapter& adapter) {
  PrintTensors(adapter.weights.manifest());
  for (const TensorSpec& spec : adapter.head.manifest())
    std::printf("  %s\n", Describe(spec).c_str());
}

void PrintModules(const PromptAdapter& adapter) { PrintTensors(adapter.weights.manifest()); }

void PrintModules(const WholeTensors& tensors) { PrintTensors(tensors.weights.manifest()); }

Manifest AllTensors(const PromptAdapter& adapter) { return adapter.weights.manifest(); }
Manifest AllTensors(const WholeTensors& tensors) { return tensors.weights.manifest(); }
Manifest AllTensors(const LoraAdapter& adapter) { return adapter.weights.manifest(); }
Manifest AllTensors(const BottleneckAdapter& adapter) {
  Manifest all = adapter.weights.manifest();
  all.insert(all.end(), adapter.head.manifest().begin(), adapter.head.manifest().end());
  return all;
}

template <typename Adapter>
void PrintAdapter(const ModelToolOptions& options, const Adapter& adapter) {
  const OrderedJson provenance = ProvenanceOf(options.model);
  const Manifest tensors = AllTensors(adapter);
  const Totals totals(tensors);
  if (!options.json()) {
    std::printf("%s: adapter\n", options.model.c_str());
    PrintConfig(adapter);
    Line("parameters", totals.Text());
    PrintProvenance(provenance);
    Line("hash", adapter.weights.HashHex());
    PrintModules(adapter);
    return;
  }
  OrderedJson object = {{"api", "rivulet/v1"}, {"kind", "Adapter"}};
  object.update(ToJson(adapter));
  object["parameters"] = totals.parameters;
  object["bytes"] = totals.bytes;
  object["dtypes"] = totals.dtypes;
  object["hash"] = adapter.weights.HashHex();
  object["provenance"] = provenance;
  object["tensors"] = TensorsJson(tensors);
  PrintJson(object);
}

}  // namespace

absl::Status InspectFolder(const ModelToolOptions& options) {
  const std::filesystem::path directory(options.model);
  if (!std::filesystem::is_directory(directory))
    return Refuse(absl::StatusCode::kNotFound,
                  options.model + ": " +
                      (std::filesystem::exists(directory) ? "is a file" : "no such folder") +
                      ", want the folder of a model or an adapter");
  if (!IsAdapterDirectory(directory)) return InspectModel(options);
  RV_ASSIGN_OR_RETURN(const AnyAdapter adapter, ReadAdapterDirectory(directory));
  std::visit([&](const auto& form) { PrintAdapter(options, form); }, adapter);
  return absl::OkStatus();
}

}  // namespace rivulet
