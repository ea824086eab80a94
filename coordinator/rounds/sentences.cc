#include "coordinator/rounds/sentences.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "common/utf8.h"

namespace rivulet {

std::string ClockText(std::chrono::milliseconds time) {
  const long long seconds = time.count() / 1000;
  char text[32];
  std::snprintf(text, sizeof text, "%02lld:%02lld:%02lld", seconds / 3600, seconds / 60 % 60,
                seconds % 60);
  return text;
}

std::string ListText(const std::vector<std::string>& names) {
  constexpr size_t kShown = 10;
  std::string text;
  for (size_t position = 0; position < names.size() && position < kShown; ++position) {
    text += (position == 0 ? "" : ", ") + names[position];
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text.empty() ? "nobody" : text;
}

std::string FailuresText(const std::map<std::string, std::string>& failed) {
  constexpr size_t kShown = 3, kLongest = 300;
  std::vector<std::pair<std::string, std::vector<std::string>>> kinds;
  for (const auto& [client, why] : failed) {
    if (why.empty()) continue;
    const auto known = std::find_if(kinds.begin(), kinds.end(),
                                    [&why](const auto& kind) { return kind.first == why; });
    if (known != kinds.end()) {
      known->second.push_back(client);
    } else {
      kinds.push_back({why, {client}});
    }
  }
  std::string text;
  for (size_t kind = 0; kind < kinds.size() && kind < kShown; ++kind) {
    const std::string& why = kinds[kind].first;
    text += "; " + ListText(kinds[kind].second) + " " + Tidy(why, kLongest) +
            (why.size() > kLongest ? " ..." : "");
  }
  if (kinds.size() > kShown) text += "; and others";
  return text;
}

}  // namespace rivulet
