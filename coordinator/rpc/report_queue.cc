#include "coordinator/rpc/report_queue.h"

#include <utility>

namespace rivulet {

ReportQueue::ReportQueue(Federation& federation)
    : federation_(federation), thread_([this] { Run(); }) {}

ReportQueue::~ReportQueue() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void ReportQueue::Post(ClientReport report, Answer answer) {
  {
    const std::lock_guard lock(mutex_);
    reports_.push_back(std::move(report));
    answers_.push_back(std::move(answer));
  }
  wake_.notify_one();
}

void ReportQueue::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !reports_.empty(); });
    if (reports_.empty()) return;
    const std::vector<ClientReport> reports = std::exchange(reports_, {});
    const std::vector<Answer> answers = std::exchange(answers_, {});
    lock.unlock();
    const std::vector<absl::Status> outcomes = federation_.Report(reports);
    for (size_t row = 0; row < answers.size(); ++row) answers[row](outcomes[row]);
    lock.lock();
  }
}

}  // namespace rivulet
