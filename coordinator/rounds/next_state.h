#pragma once

#include "coordinator/rounds/aggregate.h"

namespace rivulet {

// Moves `state`, that of `parent`, by the round's mean update and stores what comes of it; with
// [scalars] the mean is of coefficients, and the log of them grows. An empty
// mean moves nothing: state and optimiser stay as they are, momentum included. Errors: those of the
// server optimiser and of the blob store.
absl::StatusOr<AggregatedRound> NextState(BlobStore& blobs, const JobPlan& plan,
                                          const ModelRecord& parent,
                                          const std::string& initial_sha256,
                                          const ParameterSet& mean, ParameterSet state,
                                          RoundFigures figures);

}  // namespace rivulet
