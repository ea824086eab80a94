#include "peft/kernels/team.h"

namespace rivulet::kernels {
namespace {

// Asks a few hundred times, giving way to other threads; true when `done` was in that time.
template <typename Condition>
bool SoonDone(Condition done) {
  constexpr int kTries = 200;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    if (done()) return true;
    std::this_thread::yield();
  }
  return done();
}

}  // namespace

Team::Team(int size) {
  for (int index = 1; index < size; ++index) {
    workers_.emplace_back([this, index] { Work(index); });
  }
}

Team::~Team() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Team::Run(const std::function<void(int)>& part) {
  {
    const std::lock_guard lock(mutex_);
    part_ = &part;
    running_ = static_cast<int>(workers_.size());
    ++call_;
  }
  wake_.notify_all();
  part(0);
  const auto done = [this] { return running_ == 0; };
  if (SoonDone(done)) return;
  std::unique_lock lock(mutex_);
  done_.wait(lock, done);
}

void Team::Work(int index) {
  uint64_t seen = 0;
  while (true) {
    const auto called = [&] { return stop_ || call_ != seen; };
    if (!SoonDone(called)) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, called);
    }
    if (stop_) return;
    seen = call_;
    (*part_)(index);
    if (--running_ > 0) continue;
    const std::lock_guard lock(mutex_);  // the caller is not between asking and sleeping
    done_.notify_one();
  }
}

}  // namespace rivulet::kernels
