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

// Round 0. `base_tensors` is the file that plan.base_tensors names; null when there is none. It is
// not kept: round 0 holds its values. Errors: InvalidArgument (exit 3) for a file that is missing,
// not of manifest plan.from_base, or holds a value that is not finite; DataLoss for another hash;
// those of the plan's initial().
absl::StatusOr<ModelRecord> StoreInitialState(BlobStore& blobs, const JobPlan& plan,
                                              const BlobReader* base_tensors);

}  // namespace rivulet
