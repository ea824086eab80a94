#include "common/toml/toml_text.h"

#include <algorithm>
#include <optional>
#include <string>

namespace rivulet {
namespace {

constexpr int kMostDots = 64;

// The position behind the string that starts with the quote at `at`. A string that does not end on
// its line, or at all, is the parser's to report.
size_t BehindString(std::string_view text, size_t at) {
  const char quote = text[at];
  const std::string triple(3, quote);
  const bool long_form = text.substr(at).starts_with(triple);
  at += long_form ? 3 : 1;
  while (at < text.size()) {
    if (quote == '"' && text[at] == '\\') {
      at += 2;
    } else if (long_form && text.substr(at).starts_with(triple)) {
      at += 3;
      for (int more = 0; more < 2 && at < text.size() && text[at] == quote; ++more) ++at;
      return at;
    } else if (!long_form && (text[at] == quote || text[at] == '\n')) {
      return text[at] == quote ? at + 1 : at;
    } else {
      ++at;
    }
  }
  return text.size();
}

absl::Status Bad(const std::string& message) {
  return WithExit(Refuse(absl::StatusCode::kInvalidArgument, message), ExitCode::kConfig);
}

// The line, from 1, that has too many dots.
std::optional<int> LineOfManyDots(std::string_view text) {
  int line = 1, dots = 0;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\'') {
      const size_t end = std::min(BehindString(text, at), text.size());
      for (; at < end; ++at) line += text[at] == '\n';
      continue;
    }
    if (c == '#') {
      at = std::min(text.find('\n', at), text.size());
      continue;
    }
    if (c == '\n') ++line, dots = 0;
    if (c == '.' && ++dots > kMostDots) return line;
    ++at;
  }
  return std::nullopt;
}

}  // namespace

std::string PlaceText(std::string_view name, const toml::source_region& region) {
  return std::string(name) + ":" + std::to_string(region.begin.line) + ":" +
         std::to_string(region.begin.column) + ": ";
}

absl::StatusOr<toml::table> ParseToml(std::string_view text, std::string_view name) {
  if (const std::optional<int> line = LineOfManyDots(text)) {
    return Bad(std::string(name) + ":" + std::to_string(*line) + ": got more than " +
               std::to_string(kMostDots) + " dots on a line, want section.key");
  }
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return Bad(PlaceText(name, error.source()) + std::string(error.description()));
  }
}

}  // namespace rivulet
