#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// The tokenizer.json that a folder without one stands for: vocab.json + merges.txt are GPT-2's
// byte-level BPE; vocab.txt is BERT's WordPiece, cased or not by `do_lower_case` of `config` (the
// text of tokenizer_config.json, may be empty; not stated means lower case, as in transformers).
// Errors: NotFound naming the files looked for; InvalidArgument naming the file; OutOfRange above
// `max_bytes`.
absl::StatusOr<std::string> TokenizerJsonFromLegacyFiles(const std::filesystem::path& folder,
                                                         std::string_view config,
                                                         uint64_t max_bytes);

}  // namespace rivulet
