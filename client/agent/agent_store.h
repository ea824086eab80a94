#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "client/session/session.h"

namespace rivulet {

// What an agent must not lose, as small atomic files in one directory:
//   lock  epoch  state-<sha256>
//   task-<hash>.json (begun, or what came of it)  update-<hash> (what it trained), <hash>: of the
//   task's key
// Beside them lies what a MaskingStore keeps.
// Not thread safe, except that files may be read from other threads.
class AgentStore {
 public:
  // Makes the directory (0700) and locks it. Errors: FailedPrecondition (exit 8) when another agent
  // holds it; those of the file system.
  static absl::StatusOr<std::unique_ptr<AgentStore>> Open(const std::filesystem::path& directory);
  ~AgentStore();
  AgentStore(const AgentStore&) = delete;
  AgentStore& operator=(const AgentStore&) = delete;

  // A damaged task file is reported in the log, removed and counts as never begun. Removes too what
  // a crash left: temporary files, updates that no outcome names, and tasks begun 30 days ago that
  // came to nothing: if their round closed while no agent ran, nobody asks for them again.
  absl::StatusOr<SessionMemory> Load();

  absl::Status PutEpoch(uint64_t epoch);
  absl::Status PutStart(const TaskKey& key);       // one more process began it
  absl::Status TakeBackStart(const TaskKey& key);  // that one did not die of it
  absl::Status PutOutcome(const Outcome& outcome);
  absl::Status Forget(const TaskKey& key);  // and its update's file

  std::filesystem::path UpdatePath(const TaskKey& key) const;
  std::filesystem::path StatePath(const std::string& sha256) const;
  // Deletes every state file but this one: each round has its own.
  void KeepOnlyState(const std::string& sha256);

 private:
  AgentStore(std::filesystem::path directory, int lock);
  std::filesystem::path TaskPath(const TaskKey& key) const;

  const std::filesystem::path directory_;
  const int lock_;
};

}  // namespace rivulet
