#include "client/agent/timers.h"

#include <algorithm>

namespace rivulet {
namespace {

bool Earlier(const std::pair<const Timer, Timers::Instant>& left,
             const std::pair<const Timer, Timers::Instant>& right) {
  return left.second < right.second;
}

}  // namespace

std::optional<Timers::Instant> Timers::Next() const {
  const auto first = std::min_element(due_.begin(), due_.end(), Earlier);
  if (first == due_.end()) return std::nullopt;
  return first->second;
}

std::optional<Timer> Timers::TakeDue(Instant now) {
  const auto first = std::min_element(due_.begin(), due_.end(), Earlier);
  if (first == due_.end() || first->second > now) return std::nullopt;
  const Timer timer = first->first;
  due_.erase(first);
  return timer;
}

}  // namespace rivulet
