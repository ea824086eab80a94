#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace rivulet {

class Regex;

// One entry of rank_pattern or alpha_pattern.
template <typename T>
struct ModulePattern {
  std::string name;  // path suffix or regular expression
  T value;
  std::shared_ptr<const Regex> compiled;  // of "(.*\\.)?(name)"

  bool operator==(const ModulePattern& other) const {
    return name == other.name && value == other.value;
  }
};

// `adapter_config.json` of a Hugging Face PEFT LoRA (docs/formats/peft.md). What changes the
// arithmetic and is not here is refused when read.
struct PeftLoraConfig {
  std::string base_model;                            // base_model_name_or_path
  std::string task_type;                             // CAUSAL_LM, SEQ_CLS, ...; empty = null
  int64_t rank = 8;                                  // r
  double alpha = 8;                                  // lora_alpha
  double dropout = 0;                                // lora_dropout
  std::vector<std::string> target_modules;           // names
  std::string target_pattern;                        // the string form; empty with names
  std::vector<int64_t> layers_to_transform;          // empty = null
  bool use_rslora = false;                           // scale alpha / sqrt(r) instead of alpha / r
  std::vector<ModulePattern<int64_t>> rank_pattern;  // r of some modules, in file order
  std::vector<ModulePattern<double>> alpha_pattern;  // alpha of some modules, in file order
  std::vector<std::string> modules_to_save;          // names

  bool operator==(const PeftLoraConfig&) const = default;

  // PEFT's rule: the first key of the file that matches the whole path or its end behind a dot,
  // else the default. Errors: ResourceExhausted when a match takes too many steps.
  absl::StatusOr<int64_t> RankOf(const std::string& path) const;
  // alpha / r or alpha / sqrt(r), with the module's own numbers.
  absl::StatusOr<double> ScaleOf(const std::string& path) const;
};

// Errors: InvalidArgument naming key, value and what is wanted; Unimplemented for a method or
// option that we do not compute (DoRA, biases, other peft_types, embeddings, ...). Patterns are
// compiled here, once; there are at most 256 of them, so that a hostile file ends in time.
absl::StatusOr<PeftLoraConfig> ParsePeftLoraConfig(std::string_view text);

// Keys sorted, indent 2, no newline at the end; names sorted. Complete enough for PEFT, vLLM and
// llama.cpp's converter.
std::string PeftLoraConfigText(const PeftLoraConfig& config);

}  // namespace rivulet
