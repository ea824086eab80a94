#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "common/status.h"

namespace rivulet {

// What uploads may take up (proto/rivulet/v1/federation.proto).
struct UploadLimits {
  uint64_t bytes_in_flight = uint64_t{2} << 30;  // announced and not here yet, over all uploads
  std::chrono::milliseconds silence{60'000};     // a peer that sends nothing for so long is cut
  uint64_t bytes_per_second = 32 << 10;          // a slower one too, on average,
  std::chrono::milliseconds grace{30'000};       // once it has been waited for so long in all
  std::chrono::milliseconds look_every{1'000};
};

// One call that uploads, as the ledger sees it.
class WatchedUpload {
 public:
  virtual ~WatchedUpload() = default;
  // Ends the call when its peer is too slow. Called from a thread of the ledger's, without a lock.
  virtual void CutIfSlow(std::chrono::steady_clock::time_point now) = 0;
};

// How long a call has waited for its peer, and for what. Not thread safe.
class UploadPace {
 public:
  using Time = std::chrono::steady_clock::time_point;
  void StartWaiting(Time now) { since_ = now; }
  void Arrived(Time now, uint64_t bytes) {
    waited_ += now - since_;
    bytes_ += bytes;
  }
  // While waiting. Errors: DeadlineExceeded (kRetryLater) when the peer is silent or slow.
  absl::Status Check(Time now, const UploadLimits& limits) const;

 private:
  Time since_;
  std::chrono::steady_clock::duration waited_{0};  // before `since_`
  uint64_t bytes_ = 0;
};

// The uploads under way. When one agent begins several the latest one has the turn. Thread safe.
class UploadLedger {
 public:
  explicit UploadLedger(const UploadLimits& limits);
  ~UploadLedger();
  UploadLedger(const UploadLedger&) = delete;
  UploadLedger& operator=(const UploadLedger&) = delete;

  // From its first moment to its last a call is watched.
  void Watch(const std::shared_ptr<WatchedUpload>& upload);
  void Forget(const WatchedUpload& upload);

  // A turn, never 0, for `bytes` that will come. An upload above the limit goes alone. Errors:
  // ResourceExhausted (kRetryLater) when too much is in flight.
  absl::StatusOr<uint64_t> Begin(const std::string& client, uint64_t bytes);
  bool IsLatest(const std::string& client, uint64_t turn) const;
  void Arrived(uint64_t turn, uint64_t bytes);  // no longer in flight
  void End(const std::string& client, uint64_t turn);

  const UploadLimits& limits() const { return limits_; }

 private:
  void Look();
  void Release(uint64_t turn);

  const UploadLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::map<const WatchedUpload*, std::weak_ptr<WatchedUpload>> watched_;
  uint64_t last_turn_ = 0;
  std::map<std::string, uint64_t> latest_;  // turn by client
  std::map<uint64_t, uint64_t> missing_;    // bytes by turn
  uint64_t in_flight_ = 0;                  // their sum
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace rivulet
