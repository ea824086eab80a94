#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "common/formats/regex.h"
#include "peft/tokenizer/json_members.h"

namespace rivulet {

// {"String": "..."} or {"Regex": "..."}: what Split and Replace look for. Thread safe.
class Needle {
 public:
  // Errors: InvalidArgument (neither form, empty string, a pattern that does not compile).
  static absl::StatusOr<Needle> Read(const JsonMembers& owner);

  // As Regex::ForEachMatch.
  absl::Status ForEachMatch(std::string_view text,
                            const std::function<void(Regex::Match)>& visit) const;

 private:
  std::string literal_;
  std::optional<Regex> regex_;
};

// `text` with every match replaced by `content` as it stands.
absl::StatusOr<std::string> ReplaceAll(const Needle& pattern, std::string_view text,
                                       std::string_view content);

}  // namespace rivulet
