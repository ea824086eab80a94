#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace rivulet {

std::string ClockText(std::chrono::milliseconds time);        // "00:04:12"
std::string ListText(const std::vector<std::string>& names);  // "a, b, c and 4 more"

// What became of clients, those of one kind together: "; a, b gave up: failed: no data; c refused:
// ...", at most three kinds. Empty for nobody.
std::string FailuresText(const std::map<std::string, std::string>& failed);

}  // namespace rivulet
