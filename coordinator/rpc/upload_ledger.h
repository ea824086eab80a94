#pragma once

#include <algorithm>
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

// What uploads may take up (proto/rivulet/v1/federation.proto). The pace cannot tell a slow peer
// from a line of ours that many share: 1 MiB/s of it serves 32 uploads at once.
struct UploadLimits {
  uint64_t bytes_in_flight = uint64_t{2} << 30;  // announced and not here yet, over all uploads
  uint64_t bytes_of_one = uint64_t{64} << 20;    // of that, so much counts of one upload at most
  std::chrono::milliseconds silence{60'000};     // a peer that sends, or takes, nothing so long
  uint64_t bytes_per_second = 32 << 10;          // is cut; a slower one too, on average,
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

// How long a call has waited for its peer, and for how many bytes of its update. Not thread safe.
class UploadPace {
 public:
  using Time = std::chrono::steady_clock::time_point;
  void StartWaiting(Time now) { since_ = now; }
  void StopWaiting(Time now) { waited_ += now - since_; }
  void Count(uint64_t bytes) { bytes_ += bytes; }
  // While waiting. The chunk under way is taken for here: it is seen once it is whole, and a peer
  // just fast enough would else be cut before its end. Errors: DeadlineExceeded (kRetryLater) when
  // the peer is silent or slow.
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
  // ResourceExhausted (kRetryLater) when too much is in flight; an older upload of `client` then
  // keeps its turn.
  absl::StatusOr<uint64_t> Begin(const std::string& client, uint64_t bytes);
  bool IsLatest(const std::string& client, uint64_t turn) const;
  void Arrived(uint64_t turn, uint64_t bytes);  // no longer in flight
  void End(const std::string& client, uint64_t turn);

  uint64_t in_flight() const;  // as it counts: bytes_of_one
  const UploadLimits& limits() const { return limits_; }

 private:
  void Look();
  uint64_t Charge(uint64_t missing) const { return std::min(missing, limits_.bytes_of_one); }
  uint64_t ChargeOf(uint64_t turn) const;
  void Release(uint64_t turn);

  const UploadLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::map<const WatchedUpload*, std::weak_ptr<WatchedUpload>> watched_;
  uint64_t last_turn_ = 0;
  std::map<std::string, uint64_t> latest_;  // turn by client
  std::map<uint64_t, uint64_t> missing_;    // bytes by turn
  uint64_t in_flight_ = 0;                  // the sum of their charges
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace rivulet
