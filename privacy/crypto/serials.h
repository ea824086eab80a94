#pragma once

#include <set>
#include <string>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// The serials in a text: one a line in hex, in either case and with or without colons, as openssl
// prints them; '#' begins a comment. They come back as Identity::serial is written. Errors:
// InvalidArgument naming line, value seen and value wanted.
absl::StatusOr<std::set<std::string>> ParseSerials(std::string_view text);

}  // namespace rivulet
