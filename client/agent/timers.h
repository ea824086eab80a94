#pragma once

#include <chrono>
#include <map>
#include <optional>

#include "client/session/session.h"

namespace rivulet {

// The session's timers; at most one of each kind, a new one replaces the old. Not thread safe.
class Timers {
 public:
  using Instant = std::chrono::steady_clock::time_point;
  void Set(Timer timer, Instant due) { due_[timer] = due; }
  std::optional<Instant> Next() const;
  std::optional<Timer> TakeDue(Instant now);  // the earliest that is due

 private:
  std::map<Timer, Instant> due_;
};

}  // namespace rivulet
