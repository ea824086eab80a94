#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace rivulet::kernels {

// The threads of one client's step: the caller and size() - 1 workers. Calls follow each other
// within microseconds and waking a sleeper costs tens of them, so who waits asks again for a while,
// giving way to others, before it sleeps. One caller at a time. What a part computes never depends
// on how many there are, so neither do results.
class Team {
 public:
  explicit Team(int size);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }
  // part(0) .. part(size() - 1) at once; returns when all have. part must not throw.
  void Run(const std::function<void(int)>& part);

 private:
  void Work(int index);

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int)>* part_ = nullptr;  // written before call_ moves on
  std::atomic<uint64_t> call_ = 0;
  std::atomic<int> running_ = 0;
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace rivulet::kernels
