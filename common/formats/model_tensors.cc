#include "common/formats/model_tensors.h"

#include <algorithm>
#include <set>

namespace rivulet {
namespace {

// Collects expected tensors; `Linear` is a weight [out,in] and, if asked, a bias [out].
class Expectation {
 public:
  void Add(const std::string& name, std::vector<int64_t> shape,
           TensorNeed need = TensorNeed::kRequired) {
    tensors.push_back({name, std::move(shape), need, ""});
  }
  void Linear(const std::string& module, int64_t in, int64_t out, bool bias,
              TensorNeed need = TensorNeed::kRequired) {
    Add(module + ".weight", {out, in}, need);
    if (bias) Add(module + ".bias", {out}, need);
  }
  void LayerNorm(const std::string& module, int64_t width) {
    Add(module + ".weight", {width});
    Add(module + ".bias", {width});
  }
  std::vector<ExpectedTensor> tensors;
};

void ExpectLlamaLayer(const ModelConfig& config, const std::string& layer, Expectation& expect) {
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  const int64_t query = config.num_attention_heads * config.head_dim;
  const int64_t keys = config.num_key_value_heads * config.head_dim;
  expect.Add(layer + "input_layernorm.weight", {hidden});
  expect.Linear(layer + "self_attn.q_proj", hidden, query, config.attention_bias);
  expect.Linear(layer + "self_attn.k_proj", hidden, keys, config.attention_bias);
  expect.Linear(layer + "self_attn.v_proj", hidden, keys, config.attention_bias);
  expect.Linear(layer + "self_attn.o_proj", query, hidden, config.attention_bias);
  expect.Add(layer + "post_attention_layernorm.weight", {hidden});
  expect.Linear(layer + "mlp.gate_proj", hidden, inner, config.mlp_bias);
  expect.Linear(layer + "mlp.up_proj", hidden, inner, config.mlp_bias);
  expect.Linear(layer + "mlp.down_proj", inner, hidden, config.mlp_bias);
}

std::vector<ExpectedTensor> ExpectLlama(const ModelConfig& config) {
  Expectation expect;
  const std::string embedding = "model.embed_tokens.weight";
  expect.Add(embedding, {config.vocab_size, config.hidden_size});
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
    ExpectLlamaLayer(config, "model.layers." + std::to_string(layer) + ".", expect);
  expect.Add("model.norm.weight", {config.hidden_size});
  if (config.head == ModelHead::kCausalLm) {
    expect.Linear("lm_head", config.hidden_size, config.vocab_size, false,
                  config.tie_word_embeddings ? TensorNeed::kTied : TensorNeed::kRequired);
    if (config.tie_word_embeddings) expect.tensors.back().tied_to = embedding;
  }
  if (config.head == ModelHead::kSequenceClassification)
    expect.Linear("score", config.hidden_size, static_cast<int64_t>(config.labels.size()), false,
                  TensorNeed::kHead);
  return std::move(expect.tensors);
}

void ExpectBertLayer(const ModelConfig& config, const std::string& layer, Expectation& expect) {
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  for (const char* name : {"query", "key", "value"})
    expect.Linear(layer + "attention.self." + name, hidden, hidden, true);
  expect.Linear(layer + "attention.output.dense", hidden, hidden, true);
  expect.LayerNorm(layer + "attention.output.LayerNorm", hidden);
  expect.Linear(layer + "intermediate.dense", hidden, inner, true);
  expect.Linear(layer + "output.dense", inner, hidden, true);
  expect.LayerNorm(layer + "output.LayerNorm", hidden);
}

std::vector<ExpectedTensor> ExpectBert(const ModelConfig& config) {
  Expectation expect;
  const int64_t hidden = config.hidden_size;
  const std::string embeddings = "bert.embeddings.";
  expect.Add(embeddings + "word_embeddings.weight", {config.vocab_size, hidden});
  expect.Add(embeddings + "position_embeddings.weight", {config.max_position_embeddings, hidden});
  expect.Add(embeddings + "token_type_embeddings.weight", {config.type_vocab_size, hidden});
  expect.LayerNorm(embeddings + "LayerNorm", hidden);
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
    ExpectBertLayer(config, "bert.encoder.layer." + std::to_string(layer) + ".", expect);
  expect.Linear("bert.pooler.dense", hidden, hidden, true, TensorNeed::kHead);
  if (config.head == ModelHead::kSequenceClassification)
    expect.Linear("classifier", hidden, static_cast<int64_t>(config.labels.size()), true,
                  TensorNeed::kHead);
  return std::move(expect.tensors);
}

std::string BasePrefix(const ModelConfig& config) {
  return config.family == ModelFamily::kLlama ? "model." : "bert.";
}

bool IsBuffer(const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq") || name.ends_with("embeddings.position_ids") ||
         name.ends_with("embeddings.token_type_ids");
}

// Heads of other tasks of the same family.
bool IsOtherHead(const std::string& name) {
  for (const char* prefix : {"cls.", "lm_head.", "score.", "classifier.", "qa_outputs."}) {
    if (name.starts_with(prefix)) return true;
  }
  return false;
}

std::string ReplaceEnd(std::string name, const std::string& end, const std::string& with) {
  if (name.ends_with(end)) name.replace(name.size() - end.size(), end.size(), with);
  return name;
}

std::string ModernName(const std::string& name) {
  return ReplaceEnd(ReplaceEnd(name, "LayerNorm.gamma", "LayerNorm.weight"), "LayerNorm.beta",
                    "LayerNorm.bias");
}

using Names = std::map<std::string, const TensorSpec*>;  // name as expected -> row of the file

size_t CountKnown(const Names& names, const std::vector<ExpectedTensor>& expected) {
  return std::count_if(expected.begin(), expected.end(),
                       [&](const ExpectedTensor& tensor) { return names.contains(tensor.name); });
}

// Of the three readings (as is, prefix added, prefix stripped) the one that knows most names.
Names Canonical(const std::vector<TensorSpec>& in_files, const std::string& prefix,
                const std::vector<ExpectedTensor>& expected) {
  Names as_is, added, stripped;
  for (const TensorSpec& spec : in_files) {
    const std::string name = ModernName(spec.name);
    as_is[name] = &spec;
    added[IsOtherHead(name) ? name : prefix + name] = &spec;
    stripped[name.starts_with(prefix) ? name.substr(prefix.size()) : name] = &spec;
  }
  const size_t known = CountKnown(as_is, expected);
  if (2 * known >= expected.size()) return as_is;
  const size_t with = CountKnown(added, expected), without = CountKnown(stripped, expected);
  if (with <= known && without <= known) return as_is;
  return with >= without ? added : stripped;
}

absl::Status CheckTensor(const ExpectedTensor& want, const TensorSpec& got) {
  if (got.shape != want.shape)
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "tensor: got " + Describe(got) + ", want " + Describe({want.name, got.dtype, want.shape}));
  if (got.dtype == DType::kF32 || got.dtype == DType::kBF16 || got.dtype == DType::kF16)
    return absl::OkStatus();
  return Refuse(absl::StatusCode::kUnimplemented,
                "tensor: got " + Describe(got) + ", want F32, BF16 or F16");
}

void AppendList(std::string& text, const char* title, const std::vector<std::string>& names) {
  if (names.empty()) return;
  text += (text.empty() ? "" : "; ") + std::to_string(names.size()) + " " + title + ": ";
  for (size_t row = 0; row < std::min<size_t>(names.size(), 20); ++row)
    text += (row ? ", " : "") + names[row];
  if (names.size() > 20) text += ", ...";
}

// A head is there whole or not at all.
std::vector<std::string> MissingHeads(const std::vector<ExpectedTensor>& expected,
                                      const Names& names, std::vector<std::string>& missing) {
  std::map<std::string, std::vector<const ExpectedTensor*>> absent;
  std::set<std::string> present;
  for (const ExpectedTensor& tensor : expected) {
    if (tensor.need != TensorNeed::kHead) continue;
    const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
    if (names.contains(tensor.name))
      present.insert(module);
    else
      absent[module].push_back(&tensor);
  }
  std::vector<std::string> heads;
  for (const auto& [module, tensors] : absent) {
    if (!present.contains(module))
      heads.push_back(module);
    else
      for (const ExpectedTensor* tensor : tensors) missing.push_back(tensor->name);
  }
  return heads;
}

}  // namespace

std::vector<ExpectedTensor> ExpectedTensors(const ModelConfig& config) {
  return config.family == ModelFamily::kLlama ? ExpectLlama(config) : ExpectBert(config);
}

absl::StatusOr<TensorMatch> MatchTensors(const ModelConfig& config,
                                         const std::vector<TensorSpec>& in_files) {
  const std::vector<ExpectedTensor> expected = ExpectedTensors(config);
  Names names = Canonical(in_files, BasePrefix(config), expected);
  if (names.size() != in_files.size())
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "tensors: got two names for one tensor (LayerNorm.gamma beside LayerNorm.weight, "
                  "or with and without the base prefix)");
  TensorMatch match;
  std::vector<std::string> missing, unexpected;
  match.missing_heads = MissingHeads(expected, names, missing);
  for (const ExpectedTensor& tensor : expected) {
    const std::string& wanted = tensor.need == TensorNeed::kTied ? tensor.tied_to : tensor.name;
    const auto found = names.find(wanted);
    if (found == names.end()) {
      if (tensor.need == TensorNeed::kRequired) missing.push_back(tensor.name);
      continue;
    }
    RV_RETURN_IF_ERROR(CheckTensor(tensor, *found->second));
    match.file_name_of[tensor.name] = found->second->name;
  }
  for (const auto& [name, spec] : names) {
    if (match.file_name_of.contains(name) && match.file_name_of[name] == spec->name) continue;
    const bool ignorable = IsBuffer(name) || IsOtherHead(name);
    (ignorable ? match.ignored : unexpected).push_back(spec->name);
  }
  std::string text;
  AppendList(text, "missing", missing);
  AppendList(text, "unexpected", unexpected);
  if (text.empty()) return match;
  return Refuse(absl::StatusCode::kInvalidArgument,
                "tensors of a " + config.model_type + " model: " + text);
}

}  // namespace rivulet
