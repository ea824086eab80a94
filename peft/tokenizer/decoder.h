#pragma once

#include <memory>
#include <string>
#include <vector>

#include "peft/tokenizer/json_members.h"

namespace rivulet {

// Turns tokens back into text: the `decoder` of a tokenizer.json. The text is what is left in
// `tokens`, joined with nothing. Thread safe.
class Decoder {
 public:
  virtual ~Decoder() = default;
  // Errors: ResourceExhausted (a pattern's limits).
  virtual absl::Status Decode(std::vector<std::string>& tokens) const = 0;
};

// A null description puts a blank between tokens. Never null. Errors: as MakeNormalizer.
absl::StatusOr<std::unique_ptr<Decoder>> MakeDecoder(const Json* description);

}  // namespace rivulet
