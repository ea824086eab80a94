#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace rivulet {

// Cuts [0, count) into stretches of at least `grain`, one for each core and at most eight, and runs
// work(begin, end) of all of them at once; returns when all have returned. Below twice the grain
// the caller's thread does it alone.
inline void ParallelRanges(size_t count, size_t grain,
                           const std::function<void(size_t begin, size_t end)>& work) {
  const size_t cores = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 8);
  const size_t parts = std::clamp<size_t>(count / std::max<size_t>(grain, 1), 1, cores);
  std::vector<std::thread> others;
  for (size_t part = 1; part < parts; ++part) {
    others.emplace_back(work, count * part / parts, count * (part + 1) / parts);
  }
  work(0, count / parts);
  for (std::thread& other : others) other.join();
}

}  // namespace rivulet
