#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <string>

#include "client/session/session.h"
#include "common/status.h"

namespace rivulet {

// How many updates of training rounds an agent gave out of each of its data sets, over all jobs,
// and whether its owner allows one more (privacy.max-releases-in-all). One is of a round,
// an attempt at it, the state it began with and the job document. The same task again counts once;
// another attempt counts again, for its noise, its directions or its masks are fresh, and a
// coordinator could average what it asked for many times. It is counted before it can leave, so a
// crash or a cancelled upload counts too much and never too little.
//
// Kept in releases.json of the agent's state directory, mode 0600, read now and written anew,
// durably, with every release. A file that is damaged or cannot be read is reported in the log, and
// by every call: without its past nothing is given out. Thread safe.
class ReleaseBook {
 public:
  // `most`: releases of each data set, at least 1.
  ReleaseBook(std::filesystem::path directory, int most);

  // Whether the update of this task may be given out; tasks of evaluation always may. Errors, with
  // a report: FailedPrecondition (exit 9) naming the release it would be and the limit; DataLoss
  // (exit 8) for a damaged file; those of the job document.
  absl::Status Check(const Assignment& task);
  // Enters it. Errors: those of Check, and of writing; nothing is entered then.
  absl::Status Count(const Assignment& task);

 private:
  struct Of {  // one job and data set
    int releases = 0;
    std::string last;  // hex: which one that was; earlier ones do not come again
  };
  using Jobs = std::map<std::string, Of>;
  struct Release {
    std::string data_set, job, id;
  };
  static absl::StatusOr<Release> ReleaseOf(const Assignment& task);
  absl::Status Read();
  absl::Status CheckLocked(const Release& release) const;
  bool IsCountedLocked(const Release& release) const;
  int64_t TotalLocked(const std::string& data_set) const;
  absl::Status WriteLocked() const;

  const std::filesystem::path path_;
  const int most_;
  std::mutex mutex_;  // of what follows
  absl::Status damaged_;
  std::map<std::string, Jobs> data_sets_;
};

}  // namespace rivulet
