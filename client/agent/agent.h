#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

#include "client/agent/agent_store.h"
#include "client/agent/coordinator_link.h"
#include "client/agent/local_work.h"
#include "client/agent/masking_desk.h"
#include "client/agent/release_book.h"
#include "client/agent/timers.h"

namespace rivulet {

// Runs a Session: performs its actions, brings it its events. Four threads: the caller's for the
// conversation, one that works, one that uploads, one that agrees on masks; so neither heartbeats
// nor the other members of a masked round wait for training.
class Agent {
 public:
  // All must outlive it. `desk` null: it takes part in no masked round. `releases` null: it gives
  // out any number of updates.
  Agent(AgentFacts facts, SessionConfig config, AgentStore& store, CoordinatorLink& link,
        LocalWork& work, MaskingDesk* desk = nullptr, ReleaseBook* releases = nullptr);
  ~Agent();

  // Until the session ends. OK after Terminate.
  absl::Status Run();
  // From any thread: drain and end; a second time: end at once.
  void Terminate() { Post(TermRequested{}); }

 private:
  void Post(SessionEvent event);
  SessionEvent Wait();

  absl::Status Perform(const OpenStream& action);
  absl::Status Perform(const CloseStream& action);
  absl::Status Perform(const RememberEpoch& action);
  absl::Status Perform(const RememberStart& action);
  absl::Status Perform(const TakeBackStart& action);
  absl::Status Perform(const StartWork& action);
  absl::Status Perform(const AbortWork& action);
  absl::Status Perform(const Keep& action);
  absl::Status Perform(const Forget& action);
  absl::Status Perform(const Deliver& action);
  absl::Status Perform(const Report& action);
  absl::Status Perform(const JoinMasking& action);
  absl::Status Perform(const AnswerMasking& action);
  absl::Status Perform(const SendMasking& action);
  absl::Status Perform(const LeaveMasking& action);
  absl::Status Perform(const Beat& action);
  absl::Status Perform(const StartTimer& action);
  absl::Status Perform(const Say& action);
  absl::Status Perform(const Exit& action);

  // nullopt: the way to the coordinator failed, or the task was aborted. An error is the task's
  // own.
  std::optional<Outcome> Work(const Assignment& task, const std::stop_token& aborted);
  absl::StatusOr<std::optional<std::string>> FetchState(const Assignment& task,
                                                        const std::stop_token& aborted);
  // The state without fetching one; nothing where that cannot be, or is not worth it.
  std::optional<std::string> MakeState(const Assignment& task, const std::stop_token& aborted);
  // The state by the log's snapshot and what was logged since.
  absl::StatusOr<std::optional<std::string>> MakeFromSnapshot(const Assignment& task,
                                                              const std::stop_token& aborted);
  // A file of some state, verified.
  absl::StatusOr<std::optional<std::string>> FetchFile(const TaskKey& key,
                                                       const std::string& sha256, uint64_t bytes,
                                                       const std::stop_token& aborted);
  // What [from, bytes) of a blob still lacks in `path`, however often the way breaks; Cancelled
  // when `aborted`.
  absl::Status Fetch(const std::string& sha256, uint64_t bytes, const std::filesystem::path& path,
                     const std::stop_token& aborted, uint64_t from = 0);
  // From byte `from` on; fetched only where the task did not bring it.
  absl::StatusOr<std::string> FetchLog(const StateLog& log, uint64_t from,
                                       const std::stop_token& aborted);
  // From the file `snapshot` on, or where it is empty from what is held here.
  absl::StatusOr<std::string> ReplayLog(const Assignment& task, const std::string& rest,
                                        const std::string& snapshot,
                                        const std::stop_token& aborted);
  absl::StatusOr<std::optional<WorkResult>> FetchAndDo(Assignment task,
                                                       const std::stop_token& aborted);
  absl::StatusOr<std::optional<WorkResult>> Mask(const Assignment& task, WorkResult result,
                                                 const std::stop_token& aborted);
  absl::Status SendUpdate(const Outcome& outcome);

  // A thread with a queue of one kind of work.
  class Lane {
   public:
    Lane() : thread_([this] { Run(); }) {}
    ~Lane();
    void Post(std::function<void()> work);

   private:
    void Run();
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> queue_;
    bool stopping_ = false;
    std::thread thread_;
  };

  const AgentFacts facts_;
  AgentStore& store_;
  CoordinatorLink& link_;
  LocalWork& work_;
  MaskingDesk* const desk_;
  ReleaseBook* const releases_;
  std::unique_ptr<Session> session_;
  SessionConfig config_;
  Timers timers_;
  std::stop_source abort_;  // of the task in hand
  std::optional<absl::Status> ended_;

  std::mutex mutex_;  // of events_
  std::condition_variable arrived_;
  std::deque<SessionEvent> events_;

  std::unique_ptr<Lane> working_;
  std::unique_ptr<Lane> uploading_;
  std::unique_ptr<Lane> masking_;
};

}  // namespace rivulet
