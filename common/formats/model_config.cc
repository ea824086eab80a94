#include "common/formats/model_config.h"

#include <algorithm>

#include "common/formats/json_fields.h"
#include "common/formats/model_files.h"
#include "common/io/file.h"

namespace rivulet {
namespace {

using nlohmann::json;

// Bounds on what a config may ask for: far above any published model of these families, low enough
// that no product of two of them overflows.
constexpr int64_t kMaxVocabulary = 1 << 22;
constexpr int64_t kMaxWidth = 1 << 17;
constexpr int64_t kMaxInner = 1 << 20;
constexpr int64_t kMaxLayers = 1 << 10;
constexpr int64_t kMaxHeads = 1 << 10;
constexpr int64_t kMaxPositions = 1 << 24;
constexpr size_t kMaxLabels = 100'000;

// ---- RoPE

struct RopeRow {
  const char* name;
  RopeKind kind;
};
constexpr RopeRow kRopes[] = {{"default", RopeKind::kDefault},
                              {"linear", RopeKind::kLinear},
                              {"dynamic", RopeKind::kDynamic},
                              {"llama3", RopeKind::kLlama3},
                              {"yarn", RopeKind::kYarn}};

void ReadYarn(JsonFields& fields, RopeConfig& rope) {
  rope.beta_fast = fields.Number("beta_fast", 32, 1e-6, 1e6);
  rope.beta_slow = fields.Number("beta_slow", 1, 1e-6, 1e6);
  rope.attention_factor = fields.OptionalNumber("attention_factor", 1e-6, 1e6);
  rope.mscale = fields.OptionalNumber("mscale", 0, 1e6);
  rope.mscale_all_dim = fields.OptionalNumber("mscale_all_dim", 0, 1e6);
  rope.truncate = fields.Boolean("truncate", true);
  if (rope.beta_fast < rope.beta_slow) fields.Refuse("beta_fast", "at least beta_slow");
}

void ReadScaling(JsonFields& fields, int64_t max_positions, RopeConfig& rope) {
  const char* type_key = fields.Has("rope_type") ? "rope_type" : "type";
  const std::string type = fields.Text(type_key, "default");
  const auto row = std::find_if(std::begin(kRopes), std::end(kRopes),
                                [&](const RopeRow& known) { return type == known.name; });
  if (row == std::end(kRopes)) {
    fields.Refuse(type_key, "default, linear, dynamic, llama3 or yarn",
                  absl::StatusCode::kUnimplemented);
    return;
  }
  rope.kind = row->kind;
  if (rope.kind == RopeKind::kDefault) return;
  rope.factor = fields.RequiredNumber("factor", 1, 1e6);
  const char* original = "original_max_position_embeddings";
  rope.original_max_position_embeddings =
      rope.kind == RopeKind::kLlama3 ? fields.RequiredInteger(original, 1, kMaxPositions)
                                     : fields.Integer(original, max_positions, 1, kMaxPositions);
  if (rope.kind == RopeKind::kYarn) ReadYarn(fields, rope);
  if (rope.kind != RopeKind::kLlama3) return;
  rope.low_freq_factor = fields.RequiredNumber("low_freq_factor", 1e-6, 1e6);
  rope.high_freq_factor = fields.RequiredNumber("high_freq_factor", 1e-6, 1e6);
  if (rope.high_freq_factor <= rope.low_freq_factor)
    fields.Refuse("high_freq_factor", "more than low_freq_factor");
}

// Version 5 puts everything in rope_parameters, version 4 theta beside rope_scaling.
absl::StatusOr<RopeConfig> ReadRope(const json& document, int64_t max_positions) {
  JsonFields top(document);
  RopeConfig rope;
  rope.theta = top.Number("rope_theta", 10000, 1.0001, 1e12);
  if (top.Number("partial_rotary_factor", 1, 0, 1) != 1) top.Refuse("partial_rotary_factor", "1");
  const char* key = top.Has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (top.Has(key) && !top.Raw(key).is_object()) top.Refuse(key, "an object or null");
  RV_RETURN_IF_ERROR(top.status());
  if (!top.Has(key)) return rope;
  JsonFields fields(document.at(key), std::string(key) + ".");
  rope.theta = fields.Number("rope_theta", rope.theta, 1.0001, 1e12);
  if (fields.Number("partial_rotary_factor", 1, 0, 1) != 1)
    fields.Refuse("partial_rotary_factor", "1");
  ReadScaling(fields, max_positions, rope);
  RV_RETURN_IF_ERROR(fields.status());
  return rope;
}

// ---- what both families have

void ReadDType(JsonFields& fields, ModelConfig& config) {
  const char* key = fields.Has("dtype") ? "dtype" : "torch_dtype";
  std::string name = fields.Text(key, "float32");
  if (name.starts_with("torch.")) name = name.substr(6);
  if (name == "float32")
    config.dtype = DType::kF32;
  else if (name == "bfloat16")
    config.dtype = DType::kBF16;
  else if (name == "float16")
    config.dtype = DType::kF16;
  else
    fields.Refuse(key, "float32, bfloat16 or float16", absl::StatusCode::kUnimplemented);
}

void ReadTokens(JsonFields& fields, ModelConfig& config) {
  // Some published files use -1 for "none".
  const auto token = [&](const char* key) -> std::optional<int64_t> {
    const auto id = fields.OptionalInteger(key, -1, kMaxVocabulary);
    return id == -1 ? std::nullopt : id;
  };
  config.bos_token_id = token("bos_token_id");
  config.pad_token_id = token("pad_token_id");
  config.eos_token_ids = fields.Integers("eos_token_id", 0, kMaxVocabulary);
}

// id2label must name 0 .. n-1, each once.
void ReadLabels(JsonFields& fields, ModelConfig& config) {
  const int64_t count = fields.Integer("num_labels", 2, 1, kMaxLabels);
  for (int64_t label = 0; label < count; ++label)
    config.labels.push_back("LABEL_" + std::to_string(label));
  if (!fields.Has("id2label")) return;
  const json& map = fields.Raw("id2label");
  if (!map.is_object() || map.empty() || map.size() > kMaxLabels)
    return fields.Refuse("id2label", "an object with 1..100000 names");
  if (fields.Has("num_labels") && static_cast<size_t>(count) != map.size())
    return fields.Refuse("num_labels", "the size of id2label, " + std::to_string(map.size()));
  config.labels.assign(map.size(), "");
  for (size_t label = 0; label < map.size(); ++label) {
    const auto entry = map.find(std::to_string(label));
    if (entry == map.end() || !entry->is_string())
      return fields.Refuse("id2label", "a name for every class from 0 on");
    config.labels[label] = entry->get<std::string>();
  }
}

void ReadCommon(JsonFields& fields, ModelConfig& config) {
  ReadDType(fields, config);
  ReadTokens(fields, config);
  ReadLabels(fields, config);
  config.problem_type = fields.Text("problem_type", "");
  if (const auto names = fields.Texts("architectures", 16); !names.empty())
    config.architecture = names.front();
  if (fields.Has("quantization_config"))
    fields.Refuse("quantization_config", "none: quantised weights are not read",
                  absl::StatusCode::kUnimplemented);
}

// The one activation that the forward pass of the family computes, absent or under its name.
void CheckActivation(JsonFields& fields, const char* computed, const char* alias = nullptr) {
  const std::string name = fields.Text("hidden_act", computed);
  if (name == computed || (alias && name == alias)) return;
  fields.Refuse("hidden_act", alias ? std::string(computed) + " or " + alias : computed,
                absl::StatusCode::kUnimplemented);
}

// Sizes with the class defaults of the family.
struct SizeDefaults {
  int64_t vocabulary, hidden, inner, layers, heads, positions;
};
void ReadSizes(JsonFields& fields, const SizeDefaults& absent, ModelConfig& config) {
  config.vocab_size = fields.Integer("vocab_size", absent.vocabulary, 1, kMaxVocabulary);
  config.hidden_size = fields.Integer("hidden_size", absent.hidden, 1, kMaxWidth);
  config.intermediate_size = fields.Integer("intermediate_size", absent.inner, 1, kMaxInner);
  config.num_hidden_layers = fields.Integer("num_hidden_layers", absent.layers, 1, kMaxLayers);
  config.num_attention_heads = fields.Integer("num_attention_heads", absent.heads, 1, kMaxHeads);
  config.max_position_embeddings =
      fields.Integer("max_position_embeddings", absent.positions, 1, kMaxPositions);
}

ModelHead HeadOf(const std::string& architecture) {
  if (architecture.ends_with("ForCausalLM")) return ModelHead::kCausalLm;
  if (architecture.ends_with("ForSequenceClassification"))
    return ModelHead::kSequenceClassification;
  return ModelHead::kNone;
}

// ---- families

absl::StatusOr<ModelConfig> ReadLlama(const json& document) {
  JsonFields fields(document);
  ModelConfig config;
  config.family = ModelFamily::kLlama;
  ReadCommon(fields, config);
  ReadSizes(fields, {32000, 4096, 11008, 32, 32, 2048}, config);
  CheckActivation(fields, "silu", "swish");
  config.head = HeadOf(config.architecture);
  if (config.architecture.empty()) config.head = ModelHead::kCausalLm;
  config.num_key_value_heads =
      fields.Integer("num_key_value_heads", config.num_attention_heads, 1, kMaxHeads);
  if (config.num_attention_heads % config.num_key_value_heads != 0)
    fields.Refuse("num_key_value_heads", "a divisor of num_attention_heads, " +
                                             std::to_string(config.num_attention_heads));
  if (!fields.Has("head_dim") && config.hidden_size % config.num_attention_heads != 0)
    fields.Refuse("hidden_size", "a multiple of num_attention_heads, " +
                                     std::to_string(config.num_attention_heads));
  config.head_dim =
      fields.Integer("head_dim", config.hidden_size / config.num_attention_heads, 1, 1 << 12);
  if (config.head_dim % 2 != 0) fields.Refuse("head_dim", "an even number");
  config.norm_eps = fields.Number("rms_norm_eps", 1e-6, 1e-20, 1);
  config.attention_bias = fields.Boolean("attention_bias", false);
  config.mlp_bias = fields.Boolean("mlp_bias", false);
  config.attention_dropout = fields.Number("attention_dropout", 0, 0, 0.999);
  config.tie_word_embeddings = fields.Boolean("tie_word_embeddings", false);
  RV_RETURN_IF_ERROR(fields.status());
  RV_ASSIGN_OR_RETURN(config.rope, ReadRope(document, config.max_position_embeddings));
  return config;
}

absl::StatusOr<ModelConfig> ReadBert(const json& document) {
  JsonFields fields(document);
  ModelConfig config;
  config.family = ModelFamily::kBert;
  ReadCommon(fields, config);
  ReadSizes(fields, {30522, 768, 3072, 12, 12, 512}, config);
  CheckActivation(fields, "gelu");  // erf, not the tanh approximation
  config.head = HeadOf(config.architecture);
  if (config.head == ModelHead::kCausalLm) config.head = ModelHead::kNone;
  config.num_key_value_heads = config.num_attention_heads;
  if (config.hidden_size % config.num_attention_heads != 0)
    fields.Refuse("hidden_size", "a multiple of num_attention_heads, " +
                                     std::to_string(config.num_attention_heads));
  config.head_dim = config.hidden_size / config.num_attention_heads;
  config.norm_eps = fields.Number("layer_norm_eps", 1e-12, 1e-20, 1);
  config.type_vocab_size = fields.Integer("type_vocab_size", 2, 1, 1024);
  config.hidden_dropout = fields.Number("hidden_dropout_prob", 0.1, 0, 0.999);
  config.attention_dropout = fields.Number("attention_probs_dropout_prob", 0.1, 0, 0.999);
  config.classifier_dropout = fields.OptionalNumber("classifier_dropout", 0, 0.999);
  config.tie_word_embeddings = fields.Boolean("tie_word_embeddings", true);
  if (fields.Text("position_embedding_type", "absolute") != "absolute")
    fields.Refuse("position_embedding_type", "absolute", absl::StatusCode::kUnimplemented);
  for (const char* key : {"is_decoder", "add_cross_attention"}) {
    if (fields.Boolean(key, false)) fields.Refuse(key, "false", absl::StatusCode::kUnimplemented);
  }
  RV_RETURN_IF_ERROR(fields.status());
  return config;
}

// To add a family: one reader, one line here, its names in model_tensors.cc.
struct FamilyRow {
  const char* model_type;
  absl::StatusOr<ModelConfig> (*read)(const json&);
};
constexpr FamilyRow kFamilies[] = {{"llama", ReadLlama}, {"bert", ReadBert}};

}  // namespace

std::string KnownFamilies() {
  std::string names;
  for (const FamilyRow& row : kFamilies)
    names += (names.empty() ? "" : ", ") + std::string(row.model_type);
  return names;
}

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view text) {
  RV_ASSIGN_OR_RETURN(const json document, ParseJson(text));
  if (!document.is_object())
    return Refuse(absl::StatusCode::kInvalidArgument, "config: want a JSON object");
  JsonFields fields(document);
  const std::string type = fields.RequiredText("model_type");
  for (const FamilyRow& row : kFamilies) {
    if (type != row.model_type) continue;
    RV_ASSIGN_OR_RETURN(ModelConfig config, row.read(document));
    config.model_type = type;
    return config;
  }
  if (fields.status().ok())
    fields.Refuse("model_type", "one of " + KnownFamilies(), absl::StatusCode::kUnimplemented);
  return fields.status();
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& directory) {
  const auto path = directory / "config.json";
  RV_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, JsonLimits().bytes));
  absl::StatusOr<ModelConfig> config = ParseModelConfig(text);
  if (!config.ok()) return Annotate(config.status(), path.string());
  return config;
}

int64_t LongestSequence(const ModelConfig& config) {
  const double factor = config.rope.kind == RopeKind::kDynamic ? config.rope.factor : 1;
  return static_cast<int64_t>(factor * static_cast<double>(config.max_position_embeddings));
}

absl::StatusOr<ModelConfig> ForTask(ModelConfig config, std::string_view task,
                                    const std::vector<std::string>& labels) {
  const auto bad = [](const std::string& message) {
    return Refuse(absl::StatusCode::kInvalidArgument, message);
  };
  if (task == "causal-lm") {
    if (config.family != ModelFamily::kLlama)
      return bad("data.task: got causal-lm with a " + config.model_type +
                 " model, want classification");
    config.head = ModelHead::kCausalLm;
    return config;
  }
  if (task != "classification")
    return bad("data.task: got '" + std::string(task) + "', want causal-lm or classification");
  const bool has_head = config.head == ModelHead::kSequenceClassification;
  if (has_head && !labels.empty() && labels.size() != config.labels.size())
    return bad("data.labels: got " + std::to_string(labels.size()) +
               " names, want as many as the model's head has classes, " +
               std::to_string(config.labels.size()));
  // The loss is the cross-entropy of one class of several: another objective would train silently
  // on the wrong one, and of a single class it is always 0.
  if (!config.problem_type.empty() && config.problem_type != "single_label_classification")
    return Refuse(absl::StatusCode::kUnimplemented,
                  "problem_type: got '" + config.problem_type +
                      "', want single_label_classification or null");
  config.head = ModelHead::kSequenceClassification;
  if (!labels.empty()) config.labels = labels;
  if (config.labels.size() < 2)
    return bad("num_labels: got " + std::to_string(config.labels.size()) +
               ", want at least 2 classes");
  return config;
}

namespace {

// What Tokenizer::Load reads of a folder, in the documented order.
std::vector<std::string> TokenizerFileNames(const std::filesystem::path& directory) {
  const auto has = [&](const char* name) { return std::filesystem::exists(directory / name); };
  std::vector<std::string> names;
  const auto add = [&](const char* name) {
    if (has(name)) names.push_back(name);
  };
  add("tokenizer.json");
  add("tokenizer_config.json");
  if (has("tokenizer.json")) return names;
  if (has("vocab.json")) {
    add("vocab.json");
    add("merges.txt");
  } else {
    add("vocab.txt");
  }
  return names;
}

}  // namespace

absl::StatusOr<std::string> HashOfBaseModel(const std::filesystem::path& directory) {
  RV_ASSIGN_OR_RETURN(const std::vector<std::string> weights, WeightFileNames(directory));
  std::vector<std::string> names = {"config.json"};
  names.insert(names.end(), weights.begin(), weights.end());
  for (std::string& name : TokenizerFileNames(directory)) names.push_back(std::move(name));
  std::string list;
  for (const std::string& name : names) {
    RV_ASSIGN_OR_RETURN(const Sha256Digest digest, Sha256OfFile(directory / name));
    list += HexOf(digest) + "  " + name + "\n";
  }
  return "sha256:" + Sha256Hex(list);
}

}  // namespace rivulet
