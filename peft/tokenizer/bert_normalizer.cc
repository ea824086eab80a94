#include "peft/tokenizer/bert_normalizer.h"

#include <algorithm>
#include <iterator>

#include "peft/tokenizer/unicode.h"
#include "peft/tokenizer/unicode8_tables.h"

namespace rivulet {
namespace {

constexpr char32_t kIdeographs[][2] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                       {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F},
                                       {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};

bool IsIdeograph(char32_t c) {
  return std::any_of(std::begin(kIdeographs), std::end(kIdeographs),
                     [c](const auto& range) { return c >= range[0] && c <= range[1]; });
}

bool IsLineOrTab(char32_t c) { return c == '\t' || c == '\n' || c == '\r'; }

bool IsDropped(char32_t c) {
  if (IsLineOrTab(c)) return false;
  return c == 0xFFFD || IsControl(c) || IsPrivateUse(c) || IsFormat8(c);
}

std::string Clean(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    const char32_t c = NextCode(text, position);
    if (IsDropped(c)) continue;
    AppendCode(IsWhiteSpace(c) ? U' ' : c, out);
  }
  return out;
}

std::string SpaceIdeographs(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    const char32_t c = NextCode(text, position);
    const bool spaced = c >= 0x3400 && IsIdeograph(c);
    if (spaced) out += ' ';
    AppendCode(c, out);
    if (spaced) out += ' ';
  }
  return out;
}

absl::StatusOr<std::string> WithoutAccents(std::string_view text) {
  RV_ASSIGN_OR_RETURN(const std::string decomposed, NormalizeUnicode(text, NormalForm::kNfd));
  std::string out;
  out.reserve(decomposed.size());
  for (size_t position = 0; position < decomposed.size();) {
    const char32_t c = NextCode(decomposed, position);
    if (c < 0x300 || !IsNonspacingMark8(c)) AppendCode(c, out);
  }
  return out;
}

class BertNormalizer final : public Normalizer {
 public:
  absl::Status Read(const JsonMembers& fields) {
    RV_ASSIGN_OR_RETURN(clean_, fields.Bool("clean_text", true));
    RV_ASSIGN_OR_RETURN(ideographs_, fields.Bool("handle_chinese_chars", true));
    RV_ASSIGN_OR_RETURN(lowercase_, fields.Bool("lowercase", true));
    RV_ASSIGN_OR_RETURN(strip_accents_, fields.Bool("strip_accents", lowercase_));
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Normalize(std::string_view text) const override {
    std::string out(text);
    if (clean_) out = Clean(out);
    if (ideographs_) out = SpaceIdeographs(out);
    if (strip_accents_) {
      RV_ASSIGN_OR_RETURN(out, WithoutAccents(out));
    }
    if (lowercase_) out = Lowercase(out);
    return out;
  }

 private:
  bool clean_ = true;
  bool ideographs_ = true;
  bool strip_accents_ = true;  // null in the file means: as lowercase
  bool lowercase_ = true;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Normalizer>> MakeBertNormalizer(const JsonMembers& fields) {
  auto made = std::make_unique<BertNormalizer>();
  RV_RETURN_IF_ERROR(made->Read(fields));
  return made;
}

}  // namespace rivulet
