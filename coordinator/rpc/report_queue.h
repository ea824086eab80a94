#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "coordinator/rounds/federation.h"

namespace rivulet {

// Hands agents' reports to the federation, all that arrived while the last commit ran at once: no
// thread of gRPC's waits for the disk, and a commit serves as many reports as there are. Thread
// safe.
class ReportQueue {
 public:
  using Answer = std::function<void(const absl::Status&)>;

  // `federation` must outlive it.
  explicit ReportQueue(Federation& federation);
  ~ReportQueue();  // answers what was posted
  ReportQueue(const ReportQueue&) = delete;
  ReportQueue& operator=(const ReportQueue&) = delete;

  // `answer` is called on the queue's thread once the report is durable or refused.
  void Post(ClientReport report, Answer answer);

 private:
  void Run();

  Federation& federation_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<ClientReport> reports_;
  std::vector<Answer> answers_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace rivulet
