#pragma once

#include <vector>

#include "coordinator/rounds/job_plan.h"
#include "coordinator/storage/blob_store.h"
#include "coordinator/storage/state_store.h"

namespace rivulet {

struct AggregatedRound {
  ModelRecord model;  // its blobs are durable; its row is not written yet
  RoundFigures figures;
};

// The next global state: a pure function of the parent and the frozen set. `updates`, sorted by
// client, are streamed one after the other into the exact sum, so that memory is that of the model
// whatever their number. Errors: DataLoss (exit 8) when a stored blob is not what was acknowledged;
// ResourceExhausted (kRetryLater).
absl::StatusOr<AggregatedRound> AggregateRound(BlobStore& blobs, const JobPlan& plan,
                                               const ModelRecord& parent,
                                               const std::vector<UpdateRecord>& updates);

// Round 0. Errors: those of the plan's initial().
absl::StatusOr<ModelRecord> StoreInitialState(BlobStore& blobs, const JobPlan& plan,
                                              const std::string& job);

}  // namespace rivulet
