#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace rivulet {

// `adapter_config.json` of a Hugging Face PEFT LoRA (docs/formats/peft.md). What changes the
// arithmetic and is not here is refused when read.
struct PeftLoraConfig {
  std::string base_model;                       // base_model_name_or_path
  std::string task_type;                        // CAUSAL_LM, SEQ_CLS, ...; empty = null
  int64_t rank = 8;                             // r
  double alpha = 8;                             // lora_alpha
  double dropout = 0;                           // lora_dropout
  std::vector<std::string> target_modules;      // names
  std::string target_pattern;                   // the string form; empty with names
  std::vector<int64_t> layers_to_transform;     // empty = null
  bool use_rslora = false;                      // scale alpha / sqrt(r) instead of alpha / r
  std::map<std::string, int64_t> rank_pattern;  // path suffix or pattern -> r
  std::map<std::string, double> alpha_pattern;  // the same -> alpha
  std::vector<std::string> modules_to_save;     // names

  bool operator==(const PeftLoraConfig&) const = default;

  // PEFT's rule: the first key that matches the whole path or its end behind a dot, else the
  // default. Errors: InvalidArgument when a key is no valid pattern.
  absl::StatusOr<int64_t> RankOf(const std::string& path) const;
  // alpha / r or alpha / sqrt(r), with the module's own numbers.
  absl::StatusOr<double> ScaleOf(const std::string& path) const;
};

// Errors: InvalidArgument naming key, value and what is wanted; Unimplemented for a method or
// option that we do not compute (DoRA, biases, other peft_types, embeddings, ...).
absl::StatusOr<PeftLoraConfig> ParsePeftLoraConfig(std::string_view text);

// Keys sorted, indent 2, no newline at the end; names sorted. Complete enough for PEFT, vLLM and
// llama.cpp's converter.
std::string PeftLoraConfigText(const PeftLoraConfig& config);

}  // namespace rivulet
