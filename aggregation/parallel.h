#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <future>
#include <span>
#include <thread>
#include <vector>

namespace rivulet {

// Cuts [0, count) into stretches of at least `grain`, one for each core and at most eight, and runs
// work(begin, end) of all of them at once; returns when all have returned. Below twice the grain
// the caller's thread does it alone, and what no thread can be started for it does as well. What
// `work` throws in any of them is thrown here.
inline void ParallelRanges(size_t count, size_t grain,
                           const std::function<void(size_t begin, size_t end)>& work) {
  const size_t cores = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 8);
  const size_t parts = std::clamp<size_t>(count / std::max<size_t>(grain, 1), 1, cores);
  std::vector<std::future<void>> others;  // each waits for its thread when it goes
  for (size_t part = 1; part < parts; ++part) {
    others.push_back(std::async(std::launch::async | std::launch::deferred, work,
                                count * part / parts, count * (part + 1) / parts));
  }
  work(0, count / parts);
  for (std::future<void>& other : others) other.get();
}

// The same over the elements of tensors that follow each other, many small ones together as well as
// a large one in parts: work(tensor, begin, end) for elements begin .. end of one. `ends`: where
// each tensor begins when they are counted through, and the end of the last.
inline void ParallelTensors(
    std::span<const size_t> ends, size_t grain,
    const std::function<void(size_t tensor, size_t begin, size_t end)>& work) {
  ParallelRanges(ends.back(), grain, [&](size_t begin, size_t end) {
    const auto after = std::upper_bound(ends.begin(), ends.end(), begin);
    for (auto tensor = static_cast<size_t>(after - ends.begin()) - 1; begin < end; ++tensor) {
      const size_t last = std::min(end, ends[tensor + 1]);
      if (begin < last) work(tensor, begin - ends[tensor], last - ends[tensor]);
      begin = last;
    }
  });
}

}  // namespace rivulet
