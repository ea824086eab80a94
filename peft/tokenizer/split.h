#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "common/formats/regex.h"
#include "peft/tokenizer/json_members.h"
#include "peft/tokenizer/pre_tokenizer.h"
#include "peft/tokenizer/unicode.h"

namespace rivulet {

// What becomes of the delimiters; on "the-final--countdown" at "-":
enum class SplitBehavior {
  kRemoved,             // the, final, countdown
  kIsolated,            // the, -, final, -, -, countdown
  kMergedWithPrevious,  // the-, final-, -, countdown
  kMergedWithNext,      // the, -final, -, -countdown
  kContiguous,          // the, -, final, --, countdown
};

// The field `behavior`. Errors: InvalidArgument listing the five names.
absl::StatusOr<SplitBehavior> ReadBehavior(const JsonMembers& fields,
                                           std::optional<SplitBehavior> fallback);

// Cuts `piece` at `delimiters` (ascending, none overlapping another) and appends the parts to
// `out`. `invert`: what lies between the delimiters are the delimiters.
void SplitAt(const Piece& piece, const std::vector<Regex::Match>& delimiters,
             SplitBehavior behavior, bool invert, std::vector<Piece>& out);

// The single characters of `text` for which `is_delimiter(c)` holds.
template <typename Predicate>
std::vector<Regex::Match> CharactersThat(std::string_view text, Predicate is_delimiter) {
  std::vector<Regex::Match> found;
  for (size_t position = 0; position < text.size();) {
    const size_t start = position;
    if (is_delimiter(NextCode(text, position))) found.push_back({start, position});
  }
  return found;
}

}  // namespace rivulet
