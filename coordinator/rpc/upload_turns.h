#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace rivulet {

// Whose turn it is when one agent begins several uploads: the latest one's. Thread safe.
class UploadTurns {
 public:
  uint64_t Begin(const std::string& client) {
    const std::lock_guard lock(mutex_);
    return latest_[client] = ++last_;
  }
  bool IsLatest(const std::string& client, uint64_t turn) const {
    const std::lock_guard lock(mutex_);
    const auto row = latest_.find(client);
    return row != latest_.end() && row->second == turn;
  }
  void End(const std::string& client, uint64_t turn) {
    const std::lock_guard lock(mutex_);
    const auto row = latest_.find(client);
    if (row != latest_.end() && row->second == turn) latest_.erase(row);
  }

 private:
  mutable std::mutex mutex_;
  uint64_t last_ = 0;
  std::map<std::string, uint64_t> latest_;  // by client, of uploads under way
};

}  // namespace rivulet
