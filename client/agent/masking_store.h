#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "client/agent/sealed_file.h"
#include "client/session/session.h"
#include "privacy/secagg/client/ledger.h"

namespace rivulet {

// What an agent must never forget of its part in masked rounds, as small atomic files in its state
// directory, which its AgentStore holds locked:
//   masking-<hash>         the session of one attempt, secrets inside, until the attempt is over,
//   sealing-<hash>         and the key that it is sealed with
//   masking/<job>/floor    the last round of the job that was begun: no earlier one ever is again
//   masking/<job>/<round>/ rows of that round's ledger, until a later round begins
//   masking/rows           how many rows were ever written,
//   masked-rows            and the same outside: a folder that comes from an older copy shows
// The floor stands for the rows of earlier rounds: what was endorsed and revealed in them cannot be
// asked for again. After a failed fsync everything is refused with that error until the next start:
// what can still be read may not be durable. Thread safe.
class MaskingStore {
 public:
  // Errors: those of the file system.
  static absl::StatusOr<std::unique_ptr<MaskingStore>> Open(const std::filesystem::path& directory);

  // Every session file, in no order. Removes what a crash left.
  std::vector<std::string> Sessions();
  // Errors: those of WriteFileAtomically.
  absl::Status PutSession(const TaskKey& key, std::string_view bytes);
  void EraseSession(const TaskKey& key);

  // The ledger of one round: from now on no earlier one of the job has any. Errors:
  // FailedPrecondition when a later round of the job was begun before, or when the folder is an
  // older copy of itself; DataLoss for a damaged file.
  absl::StatusOr<std::unique_ptr<secagg::RoundLedger>> LedgerOf(const std::string& job,
                                                                uint64_t round);
  // Rows of earlier rounds of the job go, once an attempt of `round` is stored. None while the
  // floor is below it.
  void DropRowsBefore(const std::string& job, uint64_t round);

 private:
  class Rows;
  explicit MaskingStore(std::filesystem::path directory);
  absl::Status Compare();
  absl::Status RaiseFloor(const std::filesystem::path& job, uint64_t round);
  absl::Status CountRow();
  absl::Status Noted(absl::Status written);
  absl::Status Write(const std::filesystem::path& path, std::string_view bytes);
  SealedFile SessionFile(const std::string& hash) const;

  const std::filesystem::path directory_;
  const std::filesystem::path rows_;
  std::mutex mutex_;
  uint64_t count_ = 0;
  absl::Status fit_;  // not OK: an older copy, or an fsync failed
};

}  // namespace rivulet
