#pragma once

#include <memory>
#include <string>
#include <vector>

#include "peft/tokenizer/json_members.h"

namespace rivulet {

// A stretch of text that the model will see on its own. Never empty.
struct Piece {
  std::string text;
  bool at_start = false;  // begins where the input begins
};

// Splits text into pieces before the model: the `pre_tokenizer` of a tokenizer.json. Thread safe.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Replaces `pieces` by what they fall into. Errors: ResourceExhausted (a pattern's limits).
  virtual absl::Status Split(std::vector<Piece>& pieces) const = 0;
};

// Null for a null description. Errors: as MakeNormalizer.
absl::StatusOr<std::unique_ptr<PreTokenizer>> MakePreTokenizer(const Json* description);

}  // namespace rivulet
