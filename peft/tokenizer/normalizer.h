#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "peft/tokenizer/json_members.h"

namespace rivulet {

// Rewrites text before it is split: the `normalizer` of a tokenizer.json. Thread safe.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Errors: ResourceExhausted (a pattern's limits).
  virtual absl::StatusOr<std::string> Normalize(std::string_view text) const = 0;
};

// Null for a null description. Errors: InvalidArgument naming the field; Unimplemented naming the
// type and those that are supported.
absl::StatusOr<std::unique_ptr<Normalizer>> MakeNormalizer(const Json* description);

}  // namespace rivulet
