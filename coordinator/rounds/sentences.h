#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace rivulet {

std::string ClockText(std::chrono::milliseconds time);        // "00:04:12"
std::string ListText(const std::vector<std::string>& names);  // "a, b, c and 4 more"

}  // namespace rivulet
