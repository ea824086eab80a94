#pragma once

#include <cstddef>
#include <string_view>

namespace rivulet {

// True when `text` is UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsUtf8(std::string_view text);
// Position of the first byte that is not part of valid UTF-8; text.size() when there is none.
size_t FirstInvalidUtf8(std::string_view text);

}  // namespace rivulet
