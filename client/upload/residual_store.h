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
// What is left after an upload counts once the coordinator has acknowledged it, from the next round
// on, and where that round is given another global state than the upload was to move: a round that
// was lost has taken nothing, and what was there before its upload still counts. An attempt of the
// same round, be it the same task again after a crash or a fresh one after the round was given up,
// starts from what the round before left. So nothing is sent twice, and nothing is lost of an
// upload that was refused. (What a client cannot know is not exact: an acknowledged upload of an
// attempt or a round that came to nothing loses its part where others have moved the state before
// the client is asked again; an acknowledgement that never arrives repeats an old remainder once.)
//
// A remainder older than kMostAbsent rounds is forgotten: the model has moved on. Thread safe.
class ResidualStore {
 public:
  static constexpr uint64_t kMostAbsent = 10;

  virtual ~ResidualStore() = default;
  // What the last acknowledged upload of an earlier round left. Nothing when there was none, when
  // the client was absent for kMostAbsent rounds since, or when it cannot be read (the log says
  // why). `state`: SHA-256 of the global state that `next` is given. Uploads of earlier rounds that
  // were to move that one are forgotten.
  virtual std::optional<ParameterSet> Take(const UploadKey& next, const std::string& state,
                                           const Manifest& manifest) = 0;
  // What the upload of the round before `next` left, acknowledged or not: who is asked for the
  // second of two passes was counted in the first. It is acknowledged then. Nothing where there was
  // none, or it cannot be read.
  virtual std::optional<ParameterSet> TakeKept(const UploadKey& next, const Manifest& manifest) = 0;
  // What will be left once this upload is acknowledged. `moves`: SHA-256 of the global state that
  // its round is to move; empty for the first of two passes, which moves none. Durable on return.
  // On an error nothing is left of any: better lost than sent twice.
  virtual absl::Status Propose(const UploadKey& upload, const std::string& moves,
                               const ParameterSet& rest) = 0;
  // It is acknowledged. Repeated, or without a proposal, it does nothing.
  virtual absl::Status Settle(const UploadKey& upload) = 0;
};

// For simulations: gone with the process. Holds two sets of each client that was in one of the last
// kMostAbsent rounds.
std::unique_ptr<ResidualStore> MakeMemoryResidualStore();

// Files residual-<hash of job and client>-<round>-<attempt>-<state it moves>.{new,kept} in an
// agent's state directory: mode 0600, atomically written. Those not touched for a month are
// removed.
std::unique_ptr<ResidualStore> OpenResidualDirectory(const std::filesystem::path& directory);

}  // namespace rivulet
