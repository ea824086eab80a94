#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/tensor/parameter_set.h"

// What a Hugging Face `config.json` says about a model, for the families we compute: llama and
// bert. Both spellings are read: transformers 5 (rope_parameters, dtype) and 4 (rope_theta with
// rope_scaling, torch_dtype). See docs/formats/model.md.

namespace rivulet {

enum class ModelFamily { kLlama, kBert };

// What stands on top of the base model.
enum class ModelHead {
  kNone,                    // bare model, or a head we do not compute (bert's masked-LM `cls.*`)
  kCausalLm,                // llama: lm_head
  kSequenceClassification,  // llama: score at the last token that is not padding; bert: pooler,
                            // classifier
};

enum class RopeKind { kDefault, kLinear, kDynamic, kLlama3, kYarn };

// Rotary embedding. Meaning of the numbers: docs/formats/model.md; fields a kind does not use keep
// their defaults.
struct RopeConfig {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000;
  double factor = 1;                             // all but default
  double low_freq_factor = 1;                    // llama3
  double high_freq_factor = 4;                   // llama3
  int64_t original_max_position_embeddings = 0;  // llama3, yarn, dynamic; the model's when absent
  double beta_fast = 32;                         // yarn
  double beta_slow = 1;                          // yarn
  std::optional<double> attention_factor;        // yarn
  std::optional<double> mscale;                  // yarn
  std::optional<double> mscale_all_dim;          // yarn
  bool truncate = true;                          // yarn
};

struct ModelConfig {
  ModelFamily family = ModelFamily::kLlama;
  std::string model_type;    // "llama", "bert"
  std::string architecture;  // "LlamaForCausalLM"; empty when the file names none
  ModelHead head = ModelHead::kNone;
  DType dtype = DType::kF32;  // of the file, as the config says

  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;  // divides num_attention_heads; bert: equal
  int64_t head_dim = 0;             // llama: even
  int64_t max_position_embeddings = 0;
  double norm_eps = 0;  // rms_norm_eps or layer_norm_eps
  bool tie_word_embeddings = false;

  bool attention_bias = false;   // llama
  bool mlp_bias = false;         // llama
  double attention_dropout = 0;  // llama; bert: attention_probs_dropout_prob
  RopeConfig rope;               // llama

  int64_t type_vocab_size = 0;               // bert
  double hidden_dropout = 0;                 // bert
  std::optional<double> classifier_dropout;  // bert; hidden_dropout when absent

  std::string problem_type;         // of a classification head; empty when the file names none
  std::vector<std::string> labels;  // class names in order; size = number of classes
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> pad_token_id;
  std::vector<int64_t> eos_token_ids;
};

// "llama, bert"
std::string KnownFamilies();

// Errors: InvalidArgument naming key, value and what is wanted; Unimplemented for a model_type, a
// RoPE type, an activation or a quantisation we do not compute, with the list of those we do.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view text);
absl::StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& directory);

// The longest sequence the model computes, in tokens: max_position_embeddings, or with dynamic RoPE
// factor times that.
int64_t LongestSequence(const ModelConfig& config);

// The config as a task needs it: "causal-lm" wants a llama, "classification" puts the sequence head
// on. `labels` of the job replace those of the file; when both are there, their number must agree
// unless the file has no such head. Errors: InvalidArgument.
absl::StatusOr<ModelConfig> ForTask(ModelConfig config, std::string_view task,
                                    const std::vector<std::string>& labels);

// Who a base model is: "sha256:<hex>" of the text
//
//   <hex of config.json>  config.json\n
//   <hex of a weight file>  <its name>\n       model.safetensors, or the shards sorted by name
//   <hex of a tokenizer file>  <its name>\n    those there are, in this order:
//       tokenizer.json, tokenizer_config.json
//       tokenizer_config.json, vocab.json, merges.txt   without a tokenizer.json
//       tokenizer_config.json, vocab.txt                without a vocab.json either
//
// which are the files that a tokenizer is loaded from (peft/tokenizer). So
// `sha256sum config.json model*.safetensors tokenizer.json tokenizer_config.json | sha256sum` in
// the folder gives the same. Every byte that decides a result is in; the folder's name and times
// are not.
absl::StatusOr<std::string> HashOfBaseModel(const std::filesystem::path& directory);

}  // namespace rivulet
