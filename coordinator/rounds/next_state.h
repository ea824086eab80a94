#pragma once

#include "coordinator/rounds/aggregate.h"

namespace rivulet {

// Moves `state`, that of `parent`, by the round's mean update and stores what comes of it. An empty
// mean moves nothing: state and optimiser stay as they are, momentum included. Errors: those of the
// server optimiser and of the blob store.
absl::StatusOr<AggregatedRound> NextState(BlobStore& blobs, const JobPlan& plan,
                                          const ModelRecord& parent, const ParameterSet& mean,
                                          ParameterSet state, RoundFigures figures);

}  // namespace rivulet
