#pragma once

#include <memory>

#include "peft/tokenizer/normalizer.h"

namespace rivulet {

// BERT's clean-up, in this order: drop control, format and private-use characters (and U+0000,
// U+FFFD) and make every white space a blank; blanks around CJK ideographs; drop accents; lower
// case. Class tables are those of Unicode 8.
absl::StatusOr<std::unique_ptr<Normalizer>> MakeBertNormalizer(const JsonMembers& fields);

}  // namespace rivulet
