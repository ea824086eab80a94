#include "peft/tokenizer/split.h"

#include <string>

namespace rivulet {
namespace {

struct NamedBehavior {
  const char* name;
  SplitBehavior behavior;
};
constexpr NamedBehavior kBehaviors[] = {
    {"Removed", SplitBehavior::kRemoved},
    {"Isolated", SplitBehavior::kIsolated},
    {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
    {"MergedWithNext", SplitBehavior::kMergedWithNext},
    {"Contiguous", SplitBehavior::kContiguous},
};

struct Part {
  size_t start = 0;
  size_t end = 0;
  bool delimiter = false;
};

std::vector<Part> PartsOf(size_t size, const std::vector<Regex::Match>& delimiters, bool invert) {
  std::vector<Part> parts;
  size_t done = 0;
  for (const Regex::Match& match : delimiters) {
    if (match.start > done) parts.push_back({done, match.start, invert});
    if (match.end > match.start) parts.push_back({match.start, match.end, !invert});
    done = match.end;
  }
  if (size > done) parts.push_back({done, size, invert});
  return parts;
}

// Joins neighbours: `part` is the next one, `last` the end of what was already joined.
bool JoinsPrevious(SplitBehavior behavior, const Part& last, const Part& part) {
  switch (behavior) {
    case SplitBehavior::kMergedWithPrevious:
      return part.delimiter && !last.delimiter;
    case SplitBehavior::kMergedWithNext:
      return last.delimiter && !part.delimiter;
    case SplitBehavior::kContiguous:
      return last.delimiter == part.delimiter;
    default:
      return false;
  }
}

std::vector<Part> Join(std::vector<Part> parts, SplitBehavior behavior) {
  std::vector<Part> joined;
  for (const Part& part : parts) {
    if (!joined.empty() && JoinsPrevious(behavior, joined.back(), part)) {
      joined.back().end = part.end;
      joined.back().delimiter = part.delimiter;
    } else if (!(part.delimiter && behavior == SplitBehavior::kRemoved)) {
      joined.push_back(part);
    }
  }
  return joined;
}

}  // namespace

absl::StatusOr<SplitBehavior> ReadBehavior(const JsonMembers& fields,
                                           std::optional<SplitBehavior> fallback) {
  if (fallback.has_value() && fields.Find("behavior") == nullptr) return *fallback;
  RV_ASSIGN_OR_RETURN(const std::string name, fields.String("behavior"));
  std::string known;
  for (const NamedBehavior& entry : kBehaviors) {
    if (name == entry.name) return entry.behavior;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  return fields.Wrong("behavior", "one of " + known);
}

void SplitAt(const Piece& piece, const std::vector<Regex::Match>& delimiters,
             SplitBehavior behavior, bool invert, std::vector<Piece>& out) {
  for (const Part& part : Join(PartsOf(piece.text.size(), delimiters, invert), behavior)) {
    out.push_back(
        {piece.text.substr(part.start, part.end - part.start), piece.at_start && part.start == 0});
  }
}

}  // namespace rivulet
