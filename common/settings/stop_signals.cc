#include "common/settings/stop_signals.h"

#include <pthread.h>

#include <algorithm>
#include <ctime>

namespace rivulet {

StopSignals::StopSignals(std::initializer_list<int> others) {
  sigemptyset(&signals_);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&signals_, signal);
  for (const int signal : others) sigaddset(&signals_, signal);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

int StopSignals::Wait() const {
  int signal = 0;
  sigwait(&signals_, &signal);
  return signal;
}

int StopSignals::WaitFor(std::chrono::milliseconds pause) const {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(pause);
  const timespec time{static_cast<std::time_t>(seconds.count()),
                      std::chrono::nanoseconds(pause - seconds).count()};
  return std::max(sigtimedwait(&signals_, nullptr, &time), 0);
}

absl::Status EndOf(int signal) {
  return signal == SIGINT ? WithExit(absl::CancelledError("interrupted"), ExitCode::kInterrupted)
                          : absl::OkStatus();
}

}  // namespace rivulet
