#include "common/formats/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string>

#include "common/utf8.h"

namespace rivulet {
namespace {

constexpr size_t kMaxSearchBytes = 64 << 10;  // of a pattern
constexpr size_t kMaxWholeBytes = 1000;
constexpr uint32_t kSearchSteps = 2'000'000;  // calls of the matcher for one match
constexpr uint32_t kDepthLimit = 10'000;      // nested backtracking points
constexpr uint32_t kHeapLimitKib = 16 << 10;  // of the interpreter
constexpr size_t kJitStackBytes = 1 << 20;

// White_Space. PCRE2's own \s also takes U+180E, which left the class in Unicode 6.3.
constexpr char kSpaceClass[] =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";

template <typename T, void (*kFree)(T*)>
struct FreeWith {
  void operator()(T* p) const { kFree(p); }
};
using CodePtr = std::unique_ptr<pcre2_code, FreeWith<pcre2_code, pcre2_code_free>>;
using ContextPtr =
    std::unique_ptr<pcre2_match_context, FreeWith<pcre2_match_context, pcre2_match_context_free>>;
using DataPtr =
    std::unique_ptr<pcre2_match_data, FreeWith<pcre2_match_data, pcre2_match_data_free>>;
using StackPtr = std::unique_ptr<pcre2_jit_stack, FreeWith<pcre2_jit_stack, pcre2_jit_stack_free>>;

std::string MessageOf(int error) {
  PCRE2_UCHAR buffer[160];
  pcre2_get_error_message(error, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// `\s` and `\S` written out. `\S` inside a bracket has no such form and stays PCRE2's.
std::string WithOwnSpaceClass(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    if (c != '\\' || at + 1 == pattern.size()) {
      if (c == '[') in_class = true;
      if (c == ']') in_class = false;
      out += c;
      continue;
    }
    const char escaped = pattern[++at];
    if (escaped == 's') {
      out += in_class ? kSpaceClass : std::string("[") + kSpaceClass + "]";
    } else if (escaped == 'S' && !in_class) {
      out += std::string("[^") + kSpaceClass + "]";
    } else {
      out += {'\\', escaped};
    }
  }
  return out;
}

// JIT stacks may not be shared between threads.
pcre2_jit_stack* ThreadStack(void*) {
  thread_local const StackPtr stack(pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr));
  return stack.get();
}

}  // namespace

struct Regex::Code {
  std::string pattern;
  CodePtr compiled;
  ContextPtr limits{pcre2_match_context_create(nullptr)};

  DataPtr NewData() const {
    return DataPtr(pcre2_match_data_create_from_pattern(compiled.get(), nullptr));
  }
  // True when a match starts at or after `from`; false when none does.
  absl::StatusOr<bool> Find(std::string_view text, size_t from, pcre2_match_data* data) const {
    const int rc = pcre2_match(compiled.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                               text.size(), from, PCRE2_NO_UTF_CHECK, data, limits.get());
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    if (rc >= 0) return true;
    return Refuse(absl::StatusCode::kResourceExhausted,
                  "pattern '" + pattern + "': matching at byte " + std::to_string(from) +
                      " stopped: " + MessageOf(rc));
  }
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

absl::StatusOr<Regex> Regex::Make(std::string_view pattern, size_t max_bytes, uint32_t options,
                                  uint32_t steps) {
  if (pattern.size() > max_bytes) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "pattern: got " + std::to_string(pattern.size()) + " bytes, want at most " +
                      std::to_string(max_bytes));
  }
  if (!IsUtf8(pattern)) {
    return Refuse(absl::StatusCode::kInvalidArgument, "pattern: got invalid UTF-8");
  }
  const std::string rewritten = WithOwnSpaceClass(pattern);
  int error = 0;
  size_t offset = 0;
  auto code = std::make_unique<Code>();
  code->pattern = std::string(pattern);
  code->compiled.reset(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(rewritten.data()), rewritten.size(),
      options | PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
  if (code->compiled == nullptr) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "pattern '" + code->pattern + "': " + MessageOf(error));
  }
  pcre2_set_match_limit(code->limits.get(), steps);
  pcre2_set_depth_limit(code->limits.get(), kDepthLimit);
  pcre2_set_heap_limit(code->limits.get(), kHeapLimitKib);
  return Regex(std::move(code));
}

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) {
  absl::StatusOr<Regex> regex = Make(pattern, kMaxSearchBytes, 0, kSearchSteps);
  if (!regex.ok()) return regex;
  pcre2_jit_compile(regex->code_->compiled.get(), PCRE2_JIT_COMPLETE);  // else it is only slower
  pcre2_jit_stack_assign(regex->code_->limits.get(), ThreadStack, nullptr);
  return regex;
}

// Not just-in-time compiled: it takes longer than the few matches, and counts steps more coarsely.
absl::StatusOr<Regex> Regex::CompileWhole(std::string_view pattern, uint32_t steps) {
  return Make(pattern, kMaxWholeBytes, PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_DOLLAR_ENDONLY,
              steps);
}

absl::Status Regex::ForEachMatch(std::string_view text,
                                 const std::function<void(Match)>& visit) const {
  const DataPtr data = code_->NewData();
  const size_t* range = pcre2_get_ovector_pointer(data.get());
  for (size_t from = 0; from <= text.size();) {
    RV_ASSIGN_OR_RETURN(const bool found, code_->Find(text, from, data.get()));
    if (!found) break;
    // \K can put the start of a match behind its end or before `from`.
    if (range[0] < from || range[1] < range[0]) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "pattern '" + code_->pattern + "': \\K in a look-around is not supported");
    }
    visit({range[0], range[1]});
    from = range[1];
    if (range[0] == range[1]) {
      if (from == text.size()) break;
      while (++from < text.size() && (text[from] & 0xc0) == 0x80) {
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string_view> Regex::FirstGroup(std::string_view text) const {
  const DataPtr data = code_->NewData();
  RV_ASSIGN_OR_RETURN(const bool found, code_->Find(text, 0, data.get()));
  if (!found) return Refuse(absl::StatusCode::kNotFound, "no match");
  const size_t* range = pcre2_get_ovector_pointer(data.get());
  const size_t group = pcre2_get_ovector_count(data.get()) > 1 ? 1 : 0;
  if (range[2 * group] == PCRE2_UNSET) return std::string_view();
  return text.substr(range[2 * group], range[2 * group + 1] - range[2 * group]);
}

absl::StatusOr<bool> Regex::Matches(std::string_view text) const {
  return code_->Find(text, 0, code_->NewData().get());
}

}  // namespace rivulet
