#pragma once

#include <signal.h>

#include <chrono>

#include "common/status.h"

namespace rivulet {

// SIGTERM and SIGINT, and any others named: blocked in the thread that makes this object and in all
// threads started later, to be taken here alone. Make it before any other thread starts.
class StopSignals {
 public:
  explicit StopSignals(std::initializer_list<int> others = {});

  int Wait() const;                                    // the signal that came
  int WaitFor(std::chrono::milliseconds pause) const;  // 0 when none came

 private:
  sigset_t signals_;
};

// How a program ends that was asked to by `signal`: SIGINT is exit 130, anything else a clean stop.
absl::Status EndOf(int signal);

}  // namespace rivulet
