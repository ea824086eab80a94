#pragma once

#include <c10/cuda/CUDACachingAllocator.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "tests/bench/cuda_layout.h"

// Two kinds of work timed in turns, with the peak of the device memory that each takes.

namespace rivulet::bench {

inline double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}
inline double PeakBytes() {
  return static_cast<double>(
      c10::cuda::CUDACachingAllocator::getDeviceStats(0).allocated_bytes[0].peak);
}

using Work = std::function<void()>;

struct Turns {
  double forwards, step;            // seconds, medians
  double forwards_peak, step_peak;  // bytes
};

// `forwards` and `step` in turns A B B A, each long enough to time.
inline Turns InTurns(int repeats, const Work& forwards, const Work& step) {
  const auto once = [](const Work& work, int times) {
    Must(cudaDeviceSynchronize());
    const double start = Now();
    for (int time = 0; time < times; ++time) work();
    Must(cudaDeviceSynchronize());
    return (Now() - start) / times;
  };
  Turns turns;
  once(forwards, 2);
  c10::cuda::CUDACachingAllocator::resetPeakStats(0);
  const double first = once(forwards, 2);
  turns.forwards_peak = PeakBytes();
  once(step, 2);
  c10::cuda::CUDACachingAllocator::resetPeakStats(0);
  once(step, 2);
  turns.step_peak = PeakBytes();
  const int times = std::max(1, static_cast<int>(0.06 / first));
  std::vector<double> a, b;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    a.push_back(once(forwards, times));
    b.push_back(once(step, times));
    b.push_back(once(step, times));
    a.push_back(once(forwards, times));
  }
  turns.forwards = Median(a), turns.step = Median(b);
  return turns;
}

}  // namespace rivulet::bench
