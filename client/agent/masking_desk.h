#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "client/agent/masking_store.h"
#include "client/agent/policy.h"
#include "client/runtime/local_update.h"
#include "client/session/session.h"

namespace rivulet {

// An agent's part in masked rounds: who it is, whom it trusts, the attempt of each job that it is
// in, and what of it must outlive the process. Everything is durable before it is said. Thread
// safe.
class MaskingDesk {
 public:
  using UnixSeconds = std::function<int64_t()>;

  // `tls`: folder with key.pem, cert.pem, ca.pem; `state`: of the agent's store, locked. Both
  // policy and folders must outlive it. Goes on with the attempts of the process before. Without
  // credentials, or when the folder is an older copy, it refuses whatever it is asked. `rounding`,
  // `clock`: for tests; empty in production. Errors: those of the file system.
  static absl::StatusOr<std::unique_ptr<MaskingDesk>> Open(const Policy& policy,
                                                           const std::filesystem::path& tls,
                                                           const std::filesystem::path& state,
                                                           RoundingMaker rounding = {},
                                                           UnixSeconds clock = {});
  ~MaskingDesk();

  // Takes key and certificate as they are now, for the attempts to come: before a connection is
  // opened, which shows the same ones. Errors: a folder without credentials of an agent; the ones
  // of before stay.
  absl::Status ReadIdentity();

  // Takes part in the attempt of a training task: the message with its keys, or the commitment that
  // goes before them where groups are drawn. The same one when the task comes again, with the same
  // state, document and parameters. An attempt of the same job before it is over. Errors, each with
  // a report: FailedPrecondition for an attempt that was begun with others, or before a later one;
  // those of CheckTask, what the policy does not allow, the protocol's, of the disk.
  absl::StatusOr<std::string> Begin(const Assignment& task);

  struct Answer {
    std::string bytes;                      // to be said; empty: nothing
    std::optional<MaskingRefused> refused;  // by this side, instead
  };
  Answer On(const MaskingArrived& message);

  // What the directions of the task's round follow from, of this side's own session: nothing where
  // they follow from the job, else blocks as File. Errors: those of File.
  absl::StatusOr<std::optional<uint64_t>> DirectionRoot(const Assignment& task,
                                                        const std::stop_token& stop);

  // The file to upload instead of the update that `task` gave, once masks are agreed: blocks until
  // then. A second call gives the same bytes. Errors: Cancelled by `stop`; with a report: what
  // ended the attempt, FailedPrecondition for a task with another state, document or parameters
  // than Begin's, DeadlineExceeded when the others do not come to an end either.
  absl::StatusOr<std::string> File(const Assignment& task, LocalUpdate& update,
                                   const std::stop_token& stop);

  // The attempt is over; its secrets go.
  void Leave(const TaskKey& key);
  // Every attempt of the job up to this round is over.
  void EndRounds(const std::string& job, uint64_t round);

 private:
  struct Self;
  struct Attempt;
  using AttemptPtr = std::shared_ptr<Attempt>;

  MaskingDesk(const Policy& policy, std::filesystem::path tls, std::unique_ptr<MaskingStore> store,
              RoundingMaker rounding, UnixSeconds clock);
  absl::StatusOr<AttemptPtr> NewAttempt(const TaskKey& key, const Assignment& task) const;
  absl::StatusOr<std::string> BeginLocked(const Assignment& task);
  absl::StatusOr<AttemptPtr> Resumed(const TaskKey& key, const Assignment& task,
                                     std::string_view state) const;
  absl::Status RestoreLocked(std::string_view bytes);
  absl::Status AwaitMasks(Attempt& attempt, std::unique_lock<std::mutex>& lock,
                          const std::stop_token& stop) const;
  absl::Status Save(Attempt& attempt);
  void End(Attempt& attempt);
  void EndExpiredLocked();
  AttemptPtr Find(const TaskKey& key);
  absl::StatusOr<AttemptPtr> FindFor(const Assignment& task);

  const Policy& policy_;
  const std::filesystem::path tls_;
  const std::unique_ptr<MaskingStore> store_;
  const RoundingMaker rounding_;
  const UnixSeconds clock_;
  std::mutex mutex_;  // of what follows; before an attempt's own
  std::shared_ptr<const Self> self_;
  std::map<std::string, AttemptPtr> attempts_;                        // by job: the one in hand
  std::map<std::string, std::pair<TaskKey, absl::Status>> refusals_;  // by job: the last one
};

}  // namespace rivulet
