#define PCRE2_CODE_UNIT_WIDTH 8
#include "common/formats/pattern.h"

#include <pcre2.h>

namespace rivulet {
namespace {

constexpr size_t kMaxPatternBytes = 1000;
constexpr uint32_t kMaxDepth = 10'000;
constexpr uint32_t kMaxHeapKib = 1024;

std::string ReasonOf(int error) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(error, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

PCRE2_SPTR Units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct Pattern::State {
  std::string text;
  pcre2_code* code = nullptr;
  pcre2_match_data* data = nullptr;
  pcre2_match_context* limits = nullptr;

  ~State() {
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    pcre2_code_free(code);
  }
};

Pattern::Pattern(std::unique_ptr<State> state) : state_(std::move(state)) {}
Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

absl::StatusOr<Pattern> Pattern::Compile(std::string_view text, uint32_t steps) {
  if (text.size() > kMaxPatternBytes)
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "pattern: got " + std::to_string(text.size()) + " bytes, want at most 1000");
  auto state = std::make_unique<State>();
  state->text = text;
  constexpr uint32_t kOptions = PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF |
                                PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY;
  int error = 0;
  size_t position = 0;
  state->code = pcre2_compile(Units(text), text.size(), kOptions, &error, &position, nullptr);
  if (state->code == nullptr)
    return Refuse(absl::StatusCode::kInvalidArgument, "pattern '" + state->text +
                                                          "': " + ReasonOf(error) + " at byte " +
                                                          std::to_string(position));
  state->data = pcre2_match_data_create(1, nullptr);
  state->limits = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(state->limits, steps);
  pcre2_set_depth_limit(state->limits, kMaxDepth);
  pcre2_set_heap_limit(state->limits, kMaxHeapKib);
  return Pattern(std::move(state));
}

absl::StatusOr<bool> Pattern::Matches(std::string_view text) const {
  const int result =
      pcre2_match(state_->code, Units(text), text.size(), 0, 0, state_->data, state_->limits);
  if (result >= 0) return true;
  if (result == PCRE2_ERROR_NOMATCH) return false;
  return Refuse(
      absl::StatusCode::kResourceExhausted,
      "pattern '" + state_->text + "' against '" + std::string(text) + "': " + ReasonOf(result));
}

}  // namespace rivulet
