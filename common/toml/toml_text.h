#pragma once

#include <toml++/toml.h>

#include <string_view>

#include "common/status.h"

// For .cc files: the TOML header is too heavy for our own headers.

namespace rivulet {

// One TOML document. The library bounds the nesting of values but not of dotted keys, which it
// destroys recursively: more than 64 dots on a line, outside strings and comments, are refused
// before it sees the text. Errors: InvalidArgument (exit 3) "name:line:column: ...".
absl::StatusOr<toml::table> ParseToml(std::string_view text, std::string_view name);

// "name:line:column: "
std::string PlaceText(std::string_view name, const toml::source_region& region);

}  // namespace rivulet
