#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// A regular expression that came with a model, an adapter or a job file. Perl syntax (PCRE2) with
// Unicode classes; `\s` is Unicode White_Space. Steps, depth and memory of a match are bounded, so
// a hostile pattern ends in an error instead of a hang. Movable; thread safe.
class Regex {
 public:
  // For ForEachMatch and FirstGroup: just-in-time compiled, at most 64 KiB.
  // Errors: InvalidArgument naming pattern and the compiler's reason.
  static absl::StatusOr<Regex> Compile(std::string_view pattern);
  // For Matches: at most 1,000 bytes, and `steps` of the matcher for one match. Errors: as above.
  static absl::StatusOr<Regex> CompileWhole(std::string_view pattern, uint32_t steps = 100'000);
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
  // Whether the whole of `text` matches, as Python's re.fullmatch. `text` must be valid UTF-8; the
  // pattern must come from CompileWhole. Errors: ResourceExhausted as above.
  absl::StatusOr<bool> Matches(std::string_view text) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  static absl::StatusOr<Regex> Make(std::string_view pattern, size_t max_bytes, uint32_t options,
                                    uint32_t steps);
  std::unique_ptr<Code> code_;
};

}  // namespace rivulet
