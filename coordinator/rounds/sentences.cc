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
  std::map<std::string, std::vector<std::string>> by_text;
  for (const auto& [client, why] : failed) {
    if (!why.empty()) by_text[why].push_back(client);
  }
  std::vector<std::pair<std::string, std::vector<std::string>>> kinds(by_text.begin(),
                                                                      by_text.end());
  std::sort(kinds.begin(), kinds.end(),
            [](const auto& a, const auto& b) { return a.second.front() < b.second.front(); });
  std::stable_partition(kinds.begin(), kinds.end(),
                        [](const auto& kind) { return kind.first.starts_with("refused"); });
  std::string text;
  for (size_t kind = 0; kind < kinds.size() && kind < kShown; ++kind) {
    std::string why = Tidy(kinds[kind].first, kLongest);
    // A client's own words, which must not look like the next one's.
    std::replace(why.begin(), why.end(), ';', ',');
    text += "; " + ListText(kinds[kind].second) + " " + why +
            (kinds[kind].first.size() > kLongest ? " ..." : "");
  }
  if (kinds.size() > kShown) text += "; and others";
  return text;
}

}  // namespace rivulet
