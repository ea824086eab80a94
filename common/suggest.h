#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rivulet {

// The candidate nearest to `name` by edit distance (insert, delete, replace, swap of neighbours),
// or "" when every one is further than `max_distance`. The first wins among equals.
std::string Nearest(std::string_view name, const std::vector<std::string>& candidates,
                    int max_distance = 2);
// "; did you mean 'x'?" or "".
std::string DidYouMean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace rivulet
