#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <string>

namespace rivulet {

// At most 5 requests a minute from one address and 100 an hour in all. Thread safe; remembers at
// most an hour's 100 requests.
class RateLimit {
 public:
  using Instant = std::chrono::steady_clock::time_point;
  bool Allow(const std::string& address, Instant now);

 private:
  std::mutex mutex_;
  std::deque<std::pair<Instant, std::string>> recent_;
};

}  // namespace rivulet
