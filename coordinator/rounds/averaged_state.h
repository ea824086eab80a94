#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "coordinator/rounds/job_plan.h"
#include "coordinator/storage/blob_store.h"
#include "coordinator/storage/state_store.h"

namespace rivulet {

struct AggregatedRound;

// With evaluate.ema: the average of the global states up to today's (MovingAverage). Where states
// are made from a log, so is it (KeepsAverage), and its file is stored where the state's is, and of
// a round that is evaluated for those who cannot make it; of other jobs it always is.
struct AveragedState {
  std::string sha256;  // of its file: safetensors, as a state's
  uint64_t bytes = 0;
  bool stored = true;  // the file is there, as a blob of that name
  // Blobs of the averages up to states that are stored, by round: from them and the log it is made.
  std::map<uint64_t, std::string> kept;
};

// Of round 0, whose average is the state itself.
AveragedState FirstAverage(const ModelRecord& initial);

// Blobs that must not be deleted.
std::set<std::string> BlobsOf(const AveragedState& average);

// Whether the average up to this state of `models` is kept. A state's file may be there without it:
// that of another job, or of one that ended while it was stored.
bool IsKeptBeside(const std::optional<AveragedState>& average,
                  const std::map<uint64_t, ModelRecord>& models, const ModelRecord& state);

// Blob of the average up to `snapshot`, which is stored. Errors: DataLoss when there is none.
absl::StatusOr<std::string> KeptBeside(const AveragedState& average, const ModelRecord& snapshot);

// What a round's average begins from.
struct AverageBefore {
  AveragedState average;               // up to `model`
  std::optional<ParameterSet> values;  // where they are in memory
  ModelRecord snapshot, model;         // the log leads from the one to the other
};

// The numbers of `before`. Errors: those of ReadState; DataLoss (exit 8) when those made from the
// log are others than its name says.
absl::StatusOr<ParameterSet> ReadAverage(const BlobStore& blobs, const JobPlan& plan,
                                         AverageBefore before);

// Enters that of the round after `before` into `result`, whose state has been stored or named.
// Where states are made from a log it moves when they do, else every round. Errors: those of
// ReadAverage and of the blob store.
absl::Status NextAverage(BlobStore& blobs, const JobPlan& plan, AverageBefore before,
                         AggregatedRound& result);

// Stores the file of `before`, whose state is about to be stored, and gives what then holds.
absl::StatusOr<AveragedState> StoreAverage(BlobStore& blobs, const JobPlan& plan,
                                           AverageBefore before);

// As it stands in the state store: "<sha256> <bytes>", "unstored" where that is so, and a round and
// a hash for each one kept, separated by spaces. Errors: DataLoss for another text.
std::string TextOf(const AveragedState& average);
absl::StatusOr<AveragedState> AveragedStateFrom(std::string_view text);

}  // namespace rivulet
