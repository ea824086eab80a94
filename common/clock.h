#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace rivulet {

// Time as the daemon and the simulation see it. Deadlines use the monotonic reading only; the wall
// clock is for logs and views. Thread safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::chrono::milliseconds Monotonic() const = 0;  // since an arbitrary origin
  virtual int64_t UnixMillis() const = 0;
};

class SystemClock : public Clock {
 public:
  std::chrono::milliseconds Monotonic() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now().time_since_epoch());
  }
  int64_t UnixMillis() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
};

// Stands still until told otherwise: tests and the simulation's virtual time.
class VirtualClock : public Clock {
 public:
  std::chrono::milliseconds Monotonic() const override {
    return std::chrono::milliseconds(now_.load());
  }
  int64_t UnixMillis() const override { return now_.load(); }
  void Advance(std::chrono::milliseconds by) { now_ += by.count(); }

 private:
  std::atomic<int64_t> now_{0};
};

}  // namespace rivulet
