#include <algorithm>

#include "peft/data/record_reader.h"
#include "peft/data/record_sink.h"
#include "peft/tokenizer/unicode.h"

namespace rivulet {
namespace {

// "\r\n" and "\r" become "\n", as Python reads text.
std::string WithPlainLineEnds(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\r') {
      out += text[at];
      continue;
    }
    out += '\n';
    if (at + 1 < text.size() && text[at + 1] == '\n') ++at;
  }
  return out;
}

// What str.strip() takes: White_Space and the separators U+001C..1F.
bool IsPythonSpace(char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); }

size_t LeadingSpace(std::string_view text) {
  size_t start = 0;
  while (start < text.size()) {
    size_t next = start;
    if (!IsPythonSpace(NextCode(text, next))) break;
    start = next;
  }
  return start;
}

std::string_view WithoutTrailingSpace(std::string_view text) {
  while (!text.empty() && IsPythonSpace(CodeBefore(text, text.size()))) {
    size_t end = text.size() - 1;
    while ((text[end] & 0xC0) == 0x80) --end;
    text = text.substr(0, end);
  }
  return text;
}

absl::Status TakeRecord(std::string_view raw, int64_t line, RecordSink& sink) {
  if (const size_t bad = FirstInvalidUtf8(raw); bad != raw.size()) {
    const auto lines =
        std::count(raw.begin(), raw.begin() + static_cast<std::ptrdiff_t>(bad), '\n');
    return sink.Reject(line + lines, "got bytes that are not UTF-8");
  }
  const size_t start = LeadingSpace(raw);
  line += std::count(raw.begin(), raw.begin() + static_cast<std::ptrdiff_t>(start), '\n');
  const std::string_view text = WithoutTrailingSpace(raw.substr(start));
  if (text.empty()) return absl::OkStatus();
  if (text.size() > kMaxRecordBytes) {
    return sink.Reject(line, "got a record of " + std::to_string(text.size()) +
                                 " bytes, want at most " + std::to_string(kMaxRecordBytes));
  }
  Record record;
  record.fields["text"] = std::string(text);
  return sink.Accept(std::move(record), line);
}

}  // namespace

absl::Status ReadText(std::string_view bytes, RecordSink& sink) {
  const std::string text = WithPlainLineEnds(bytes);
  const std::string& separator = sink.data().separator;
  int64_t line = 1;
  for (size_t start = 0; start <= text.size();) {
    const size_t found = separator.empty() ? std::string::npos : text.find(separator, start);
    const size_t end = std::min(found, text.size());
    const std::string_view raw = std::string_view(text).substr(start, end - start);
    RV_RETURN_IF_ERROR(TakeRecord(raw, line, sink));
    if (end == text.size()) break;
    line += std::count(raw.begin(), raw.end(), '\n') +
            std::count(separator.begin(), separator.end(), '\n');
    start = end + separator.size();
  }
  return absl::OkStatus();
}

}  // namespace rivulet
