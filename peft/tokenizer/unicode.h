#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/status.h"
#include "common/utf8.h"

namespace rivulet {

// UTF-8 and the character classes that tokenizer pipelines speak of. Every function but
// Utf8Lossy expects valid UTF-8.

// Each maximal invalid part becomes one U+FFFD.
std::string Utf8Lossy(std::string_view bytes);

// Code point at `position`, which moves behind it. position < text.size().
char32_t NextCode(std::string_view text, size_t& position);
// Code point that ends at `end` > 0.
char32_t CodeBefore(std::string_view text, size_t end);
void AppendCode(char32_t c, std::string& out);
size_t CountCodes(std::string_view text);

bool IsWhiteSpace(char32_t c);  // Unicode White_Space
bool IsNumeric(char32_t c);     // Nd, Nl, No
// Alphabetic, M*, Nd, Pc and the joiners U+200C, U+200D: the \w of the reference.
bool IsWordCode(char32_t c);
bool IsControl(char32_t c);        // Cc
bool IsPrivateUse(char32_t c);     // Co
bool IsCombiningMark(char32_t c);  // M*

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
// Errors: ResourceExhausted when utf8proc cannot allocate.
absl::StatusOr<std::string> NormalizeUnicode(std::string_view text, NormalForm form);
// Full mapping per character: U+0130 gives two; no final-sigma rule.
std::string Lowercase(std::string_view text);
// Without the white space at the sides asked for.
std::string_view StripWhiteSpace(std::string_view text, bool left, bool right);

}  // namespace rivulet
