#include "peft/kernels/team.h"

namespace rivulet::kernels {

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
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return running_ == 0; });
}

void Team::Work(int index) {
  uint64_t seen = 0;
  while (true) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return stop_ || call_ != seen; });
    if (stop_) return;
    seen = call_;
    const std::function<void(int)>& part = *part_;
    lock.unlock();
    part(index);
    lock.lock();
    if (--running_ == 0) done_.notify_one();
  }
}

}  // namespace rivulet::kernels
