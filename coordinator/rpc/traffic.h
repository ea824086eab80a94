#pragma once

#include <atomic>
#include <cstdint>

namespace rivulet {

// What the services count for /metrics. Thread safe.
struct Traffic {
  std::atomic<uint64_t> uplink_bytes{0};
  std::atomic<uint64_t> downlink_bytes{0};
  std::atomic<uint64_t> uploads_accepted{0};
  std::atomic<uint64_t> uploads_resumed{0};   // began at an offset above 0
  std::atomic<uint64_t> uploads_rejected{0};  // for what they hold
  std::atomic<uint64_t> streams_opened{0};
  std::atomic<uint64_t> calls_denied{0};  // identity or role
  std::atomic<uint64_t> failures_reported{0};
};

}  // namespace rivulet
