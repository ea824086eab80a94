#pragma once

#include <string>
#include <vector>

#include "coordinator/rounds/aggregate.h"

namespace rivulet {

// What a round begins from.
struct RoundStart {
  const ModelRecord& parent;
  const std::string& initial_sha256;  // blob of the state of round 0
  std::vector<double> owners = {};    // with scalars.splits: the share of the weight each one has
  uint64_t session_root = 0;          // with scalars.drawn-from = "session": of the round's sum
  std::string choice = {};            // with scalars.candidates: that clients measured along
};

// Moves `state`, that of the parent, by the round's mean update and stores what comes of it, but
// for the state of a job that keeps a log, which is only named (StoreIfDue); with [scalars] the
// mean is of coefficients, and the log of them grows. An empty mean moves nothing: state and
// optimiser stay as they are, momentum and what is waited for included. Errors: those of the server
// optimiser and of the blob store.
absl::StatusOr<AggregatedRound> NextState(BlobStore& blobs, const JobPlan& plan,
                                          const RoundStart& start, const ParameterSet& mean,
                                          ParameterSet state, RoundFigures figures);

}  // namespace rivulet
