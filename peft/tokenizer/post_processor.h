#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "peft/tokenizer/bounded_json.h"
#include "peft/tokenizer/encoding.h"

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

}  // namespace rivulet
