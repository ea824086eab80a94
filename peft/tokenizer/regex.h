#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// A pattern that came with a model or a job file: PCRE2 with Unicode classes and JIT, with limits
// on the work of one match. `\s` is Unicode White_Space. Thread safe.
class Regex {
 public:
  // Errors: InvalidArgument naming pattern, position and the compiler's message.
  static absl::StatusOr<Regex> Compile(std::string_view pattern);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  struct Match {
    size_t start = 0;  // bytes
    size_t end = 0;
  };
  // Calls `visit` for each match from the left, none overlapping another; an empty match moves on
  // by one character. `text` must be valid UTF-8. Errors: ResourceExhausted when a match needs more
  // steps than allowed.
  absl::Status ForEachMatch(std::string_view text, const std::function<void(Match)>& visit) const;
  // The first capture group of the first match, or the whole match if the pattern has none.
  // Errors: as above; NotFound when nothing matches.
  absl::StatusOr<std::string_view> FirstGroup(std::string_view text) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

}  // namespace rivulet
