#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/status.h"

namespace rivulet {

// What `inspect` tells about a folder's tokenizer.
struct TokenizerSummary {
  std::string kind;         // BPE | WordPiece | WordLevel | Unigram; empty when there is none
  std::string unsupported;  // why it cannot be used here; empty when it can
  size_t vocabulary = 0;    // tokens, added ones included
  std::vector<std::pair<std::string, int64_t>> special;  // "eos" -> id
};

// Errors: those of Tokenizer::Load for a damaged file. None and unsupported are no errors.
absl::StatusOr<TokenizerSummary> SummarizeTokenizer(const std::filesystem::path& directory);

// Ids that end a text: the tokenizer's eos_token and `eos_token_id`, a number or a list, of
// config.json and generation_config.json. Sorted, each once.
absl::StatusOr<std::vector<int32_t>> StopIds(const std::filesystem::path& directory,
                                             std::optional<int32_t> tokenizer_eos,
                                             const std::vector<int64_t>& config_eos);

}  // namespace rivulet
