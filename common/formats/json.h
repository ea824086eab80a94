#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "common/status.h"
#include "common/utf8.h"

// The JSON header is heavy: not for headers that many include.

namespace rivulet {

struct JsonLimits {
  size_t bytes = 4 << 20;
  int depth = 16;            // nested objects and arrays
  size_t values = 20 << 20;  // scalars, objects and arrays together
};

// One JSON document (RFC 8259), stricter than most readers because the text may be hostile: strict
// UTF-8, no raw NUL, no byte order mark, no comments, no key twice in one object. Bounds are
// checked before any value is kept, so that a small file cannot become a large tree unnoticed.
// Errors: InvalidArgument with the position or the bound; OutOfRange above `bytes`.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, const JsonLimits& limits = {});
absl::StatusOr<nlohmann::json> ReadJson(const std::filesystem::path& path,
                                        const JsonLimits& limits = {});

// `text` as a JSON string with its quotes, escaped as safetensors' reference does: \" \\ \b \t \n
// \f \r, other characters below U+0020 as \u00xx, everything else raw. `text` must be UTF-8.
std::string QuoteJson(std::string_view text);

}  // namespace rivulet
