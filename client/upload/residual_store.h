#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "common/status.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// One upload of one client.
struct UploadKey {
  std::string job;
  std::string client;
  uint64_t round = 0;
  uint32_t attempt = 0;
  auto operator<=>(const UploadKey&) const = default;
};

// Error feedback: what a client's uploads of a job could not carry, for its next one.
//
// What is left after an upload counts once the coordinator has acknowledged it, and from the next
// round on: an attempt of the same round, be it the same task again after a crash or a fresh one
// after the round was given up, starts from what the round before left. So nothing is sent twice,
// and nothing is lost of an upload that was refused. (Two rare cases are not exact: an
// acknowledged attempt that was given up while the client sits out the next one loses that update's
// part; an acknowledgement that never arrives repeats an old remainder once.)
//
// A remainder older than kMostAbsent rounds is forgotten: the model has moved on. Thread safe.
class ResidualStore {
 public:
  static constexpr uint64_t kMostAbsent = 10;

  virtual ~ResidualStore() = default;
  // What the last acknowledged upload of an earlier round left. Nothing when there was none, when
  // the client was absent for kMostAbsent rounds since, or when it cannot be read (the log says
  // why).
  virtual std::optional<ParameterSet> Take(const UploadKey& next, const Manifest& manifest) = 0;
  // What the upload of the round before `next` left, acknowledged or not: who is asked for the
  // second of two passes was counted in the first. It is acknowledged then. Nothing where there was
  // none, or it cannot be read.
  virtual std::optional<ParameterSet> TakeKept(const UploadKey& next, const Manifest& manifest) = 0;
  // What will be left once this upload is acknowledged. On an error nothing is left of any: better
  // lost than sent twice.
  virtual absl::Status Propose(const UploadKey& upload, const ParameterSet& rest) = 0;
  // It is acknowledged. Repeated, or without a proposal, it does nothing.
  virtual absl::Status Settle(const UploadKey& upload) = 0;
};

// For simulations: gone with the process. Holds two sets of each client that was in one of the last
// kMostAbsent rounds.
std::unique_ptr<ResidualStore> MakeMemoryResidualStore();

// Files residual-<hash of job and client>-<round>-<attempt>.{new,kept} in an agent's state
// directory: mode 0600, atomically written. Those not touched for a month are removed.
std::unique_ptr<ResidualStore> OpenResidualDirectory(const std::filesystem::path& directory);

}  // namespace rivulet
