#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace rivulet {

std::string ClockText(std::chrono::milliseconds time);        // "00:04:12"
std::string ListText(const std::vector<std::string>& names);  // "a, b, c and 4 more"
// At most `limit` bytes of a peer's text, whole UTF-8 characters, control characters as spaces.
std::string Tidy(std::string text, size_t limit);

}  // namespace rivulet
