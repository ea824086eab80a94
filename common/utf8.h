#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace rivulet {

// True when `text` is UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsUtf8(std::string_view text);
// Position of the first byte that is not part of valid UTF-8; text.size() when there is none.
size_t FirstInvalidUtf8(std::string_view text);

// A peer's text made fit to be stored, sent on and shown on a terminal: UTF-8 of at most `limit`
// bytes, whole characters; control characters (C0, DEL, C1) become spaces, bytes that are no UTF-8
// question marks.
std::string Tidy(std::string_view text, size_t limit);

}  // namespace rivulet
