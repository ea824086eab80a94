#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "peft/tokenizer/encoding.h"
#include "peft/tokenizer/json_members.h"

namespace rivulet {

// Puts special tokens around one text or a pair: the `post_processor` of a tokenizer.json. Thread
// safe.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  // `second` is null for a single text.
  virtual Encoding Join(const std::vector<int32_t>& first, const std::vector<int32_t>* second,
                        bool add_special) const = 0;
};

// A null description joins without special tokens, first text with type 0, second with type 1.
// Never null. Errors: as MakeNormalizer.
absl::StatusOr<std::unique_ptr<PostProcessor>> MakePostProcessor(const Json* description);

// `made` of tokenizer.json, or what replaces it when `config`, a tokenizer_config.json, states
// add_bos_token or add_eos_token. Llama, CodeLlama, Gemma and Cohere classes then build theirs from
// the two (absent: true and false), as transformers does. Of other classes releases of transformers
// differ, so they must say what tokenizer.json does.
//   bos, eos  ids of the tokens that `config` names
// Errors: InvalidArgument naming the key: no such token, or a contradiction.
absl::StatusOr<std::unique_ptr<PostProcessor>> WithStatedEnds(std::unique_ptr<PostProcessor> made,
                                                              const JsonMembers& config,
                                                              std::optional<int32_t> bos,
                                                              std::optional<int32_t> eos);

}  // namespace rivulet
