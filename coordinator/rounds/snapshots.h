#pragma once

#include <cstdint>

#include "aggregation/moving_average.h"
#include "coordinator/rounds/aggregate.h"

namespace rivulet {

// Global states of jobs that keep a log of coefficients lie in the blob store now and then only
// (docs/formats/scalars.md). Those between are made from the last that does, a snapshot, by what
// was logged since; each model's row has the SHA-256 of its file all the same.

// Does the job keep the state of this round for download, besides the latest?
bool IsKept(const JobPlan& plan, uint64_t round);

// Where in all that was ever logged the state of `model` stands; of a pool, whose one record moves
// the state of round 0, byte 0 for that state.
uint64_t PositionOf(const JobPlan& plan, const ModelRecord& model);

// Whether the log of `model` leads from `snapshot` to it.
bool LeadsFrom(const JobPlan& plan, const ModelRecord& snapshot, const ModelRecord& model);

// Whether the state of `model` must be stored, `snapshot` being the last that was: it is kept for
// download; or what is logged since is as long as its file, or takes longer to replay than
// kMostReplay. States of jobs without a log are always stored.
bool IsSnapshotDue(const JobPlan& plan, const ModelRecord& snapshot, const ModelRecord& model);

// Enters the state's hash and its file's name and size into `model`; nothing is stored.
void NameState(const ParameterSet& state, ModelRecord& model);

// The same, and stores the file. Where `model` has the hash of the state already it is not computed
// again. Errors: DataLoss (exit 8) when `model` has another name already; those of the blob store.
absl::Status StoreState(BlobStore& blobs, const ParameterSet& state, ModelRecord& model);

// Stores the state of a round that has just been made where that is due.
absl::Status StoreIfDue(BlobStore& blobs, const JobPlan& plan, const ModelRecord& snapshot,
                        AggregatedRound& round);

// The state of `model`, from its own blob where `snapshot` is that, else from the snapshot's and
// the log. Errors: DataLoss (exit 8) when a blob is not what its name says, or what comes out is
// not the state of that name: neither is then touched; NotFound when one is gone. `average`: that
// of the snapshot, which becomes that of `model`.
absl::StatusOr<ParameterSet> ReadState(const BlobStore& blobs, const JobPlan& plan,
                                       const ModelRecord& snapshot, const ModelRecord& model,
                                       MovingAverage* average = nullptr);

}  // namespace rivulet
