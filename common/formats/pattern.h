#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// A regular expression from a job or adapter file, matched against a whole text as Python's
// re.fullmatch does. Perl syntax (PCRE2); steps, depth and memory of a match are bounded, so a
// hostile pattern ends in an error instead of a hang. Movable; Matches is not thread safe.
class Pattern {
 public:
  static constexpr uint32_t kMaxSteps = 100'000;

  // `steps`: of the matcher, for one match. Errors: InvalidArgument with PCRE2's reason and its
  // position; longer than 1,000 bytes.
  static absl::StatusOr<Pattern> Compile(std::string_view text, uint32_t steps = kMaxSteps);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  // Errors: ResourceExhausted when the bounds were reached.
  absl::StatusOr<bool> Matches(std::string_view text) const;

 private:
  struct State;
  explicit Pattern(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace rivulet
