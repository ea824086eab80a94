#include "coordinator/rounds/sentences.h"

#include <cstdio>

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

}  // namespace rivulet
