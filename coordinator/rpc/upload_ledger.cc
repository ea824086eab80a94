#include "coordinator/rpc/upload_ledger.h"

#include <cmath>
#include <vector>

#include "common/rpc/chunk.h"

namespace rivulet {
namespace {

using Seconds = std::chrono::duration<double>;

std::string Text(Seconds seconds) { return std::to_string(std::lround(seconds.count())) + " s"; }

}  // namespace

absl::Status UploadPace::Check(Time now, const UploadLimits& limits) const {
  if (now - since_ >= limits.silence) {
    return Refuse(absl::StatusCode::kDeadlineExceeded,
                  "upload: got nothing for " + Text(limits.silence), Remedy::kRetryLater);
  }
  const Seconds waited = waited_ + (now - since_);
  const double want = waited.count() * static_cast<double>(limits.bytes_per_second);
  const bool fast = static_cast<double>(bytes_ + kChunkBytes) >= want;
  if (waited < limits.grace || fast) return absl::OkStatus();
  return Refuse(absl::StatusCode::kDeadlineExceeded,
                "upload: got " + std::to_string(bytes_) + " bytes in " + Text(waited) +
                    ", want at least " + std::to_string(limits.bytes_per_second) + " a second",
                Remedy::kRetryLater);
}

UploadLedger::UploadLedger(const UploadLimits& limits)
    : limits_(limits), thread_([this] { Look(); }) {}

UploadLedger::~UploadLedger() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void UploadLedger::Look() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, limits_.look_every, [this] { return stopping_; })) {
    std::vector<std::shared_ptr<WatchedUpload>> uploads;
    for (const auto& [key, upload] : watched_) uploads.push_back(upload.lock());
    lock.unlock();
    const auto now = std::chrono::steady_clock::now();
    for (const auto& upload : uploads) {
      if (upload != nullptr) upload->CutIfSlow(now);
    }
    uploads.clear();  // perhaps the last to hold one: what that frees is freed without the lock
    lock.lock();
  }
}

void UploadLedger::Watch(const std::shared_ptr<WatchedUpload>& upload) {
  const std::lock_guard lock(mutex_);
  watched_[upload.get()] = upload;
}

void UploadLedger::Forget(const WatchedUpload& upload) {
  const std::lock_guard lock(mutex_);
  watched_.erase(&upload);
}

// With mutex_ held, as Release.
uint64_t UploadLedger::ChargeOf(uint64_t turn) const {
  const auto row = missing_.find(turn);
  return row == missing_.end() ? 0 : Charge(row->second);
}

void UploadLedger::Release(uint64_t turn) {
  in_flight_ -= ChargeOf(turn);
  missing_.erase(turn);
}

absl::StatusOr<uint64_t> UploadLedger::Begin(const std::string& client, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  uint64_t& latest = latest_[client];  // 0: none
  const uint64_t others = in_flight_ - ChargeOf(latest);
  const uint64_t room = limits_.bytes_in_flight - std::min(others, limits_.bytes_in_flight);
  if (others > 0 && Charge(bytes) > room) {
    if (latest == 0) latest_.erase(client);
    return Refuse(absl::StatusCode::kResourceExhausted,
                  "upload: got " + std::to_string(Charge(bytes)) + " bytes beside " +
                      std::to_string(others) + " in flight, want at most " +
                      std::to_string(limits_.bytes_in_flight) + " in all",
                  Remedy::kRetryLater);
  }
  Release(latest);
  latest = ++last_turn_;
  missing_[latest] = bytes;
  in_flight_ += Charge(bytes);
  return latest;
}

bool UploadLedger::IsLatest(const std::string& client, uint64_t turn) const {
  const std::lock_guard lock(mutex_);
  const auto row = latest_.find(client);
  return row != latest_.end() && row->second == turn;
}

void UploadLedger::Arrived(uint64_t turn, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto row = missing_.find(turn);
  if (row == missing_.end()) return;
  in_flight_ -= Charge(row->second);
  row->second -= std::min(bytes, row->second);
  in_flight_ += Charge(row->second);
}

uint64_t UploadLedger::in_flight() const {
  const std::lock_guard lock(mutex_);
  return in_flight_;
}

void UploadLedger::End(const std::string& client, uint64_t turn) {
  const std::lock_guard lock(mutex_);
  Release(turn);
  const auto row = latest_.find(client);
  if (row != latest_.end() && row->second == turn) latest_.erase(row);
}

}  // namespace rivulet
