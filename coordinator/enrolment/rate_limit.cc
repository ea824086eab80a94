#include "coordinator/enrolment/rate_limit.h"

#include <algorithm>

namespace rivulet {
namespace {

constexpr size_t kPerMinute = 5;
constexpr size_t kPerHour = 100;

}  // namespace

bool RateLimit::Allow(const std::string& address, Instant now) {
  const std::lock_guard lock(mutex_);
  while (!recent_.empty() && now - recent_.front().first >= std::chrono::hours(1)) {
    recent_.pop_front();
  }
  if (recent_.size() >= kPerHour) return false;
  const auto lately = std::count_if(recent_.begin(), recent_.end(), [&](const auto& row) {
    return row.second == address && now - row.first < std::chrono::minutes(1);
  });
  if (static_cast<size_t>(lately) >= kPerMinute) return false;
  recent_.emplace_back(now, address);
  return true;
}

}  // namespace rivulet
