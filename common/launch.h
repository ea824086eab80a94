#pragma once

#include <cstdint>
#include <future>

namespace rivulet {

// How std::async hashes so many bytes beside other work: with a thread of its own where they are
// worth one. Both kinds then: where no thread can be started, get() does the work.
inline std::launch LaunchFor(uint64_t bytes) {
  constexpr uint64_t kWorthAThread = uint64_t{1} << 20;
  return bytes < kWorthAThread ? std::launch::deferred : std::launch::async | std::launch::deferred;
}

}  // namespace rivulet
