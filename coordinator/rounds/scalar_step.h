#pragma once

#include <string>

#include "aggregation/scalars/scalar_replay.h"
#include "aggregation/server_optimizer.h"
#include "coordinator/rounds/next_state.h"

namespace rivulet {

// What a round of coefficients leaves beside its state.
struct ScalarStep {
  std::string log;        // by which clients make the next state for themselves
  WaitingRounds waiting;  // with scalars.target-ratio: rounds that have not moved it yet
};

// Moves `state` by the mean coefficients of the round; an empty mean leaves state, log and what
// waits as they are. `optimizer` is the job's, restored. Errors: DataLoss for stored logs that are
// damaged; those of the optimiser and of the blobs.
absl::StatusOr<ScalarStep> MoveByScalars(BlobStore& blobs, const JobPlan& plan,
                                         const RoundStart& start, const ParameterSet& mean,
                                         ServerOptimizer& optimizer, ParameterSet& state);

// Stores both and enters them into `model`, whose state is named. The log stays shorter than that,
// for who lacks as much is better served with the state; that of a pool is one record and stays
// whole.
absl::Status PutScalarStep(BlobStore& blobs, const JobPlan& plan, const ModelRecord& parent,
                           ScalarStep step, ModelRecord& model);

// With scalars.candidates: enters which of them the next round's directions are, by the log of
// `result`. Errors: DataLoss for a stored log that is damaged.
absl::Status ChooseNext(const BlobStore& blobs, const JobPlan& plan, AggregatedRound& result);

// Each split's share of the weight of these updates, of round `round`; empty without splits.
std::vector<double> OwnersOf(const JobPlan& plan, uint64_t round,
                             const std::vector<UpdateRecord>& updates);

}  // namespace rivulet
