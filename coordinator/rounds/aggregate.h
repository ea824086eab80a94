#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "coordinator/rounds/averaged_state.h"
#include "coordinator/rounds/coded_round.h"
#include "coordinator/rounds/job_plan.h"
#include "coordinator/rounds/masked_round.h"
#include "coordinator/rounds/round_privacy.h"
#include "coordinator/rounds/running_round.h"
#include "coordinator/storage/blob_store.h"
#include "coordinator/storage/state_store.h"

namespace rivulet {

struct AggregatedRound {
  ModelRecord model;   // its blobs are durable, but perhaps the state; its row is not written yet
  ParameterSet state;  // of that model
  bool stored = true;  // the state is: without a log always (snapshots.h)
  RoundFigures figures;
  int64_t scaled = 0;               // updates that a robust rule scaled down
  std::optional<double> clip_norm;  // adaptive clipping: of the next round
  std::optional<double> grad_norm;  // mean of the clients', weighted as the loss; where it is known
  std::string choice;               // with scalars.candidates: of the next round
  // With evaluate.ema; what of it is stored is durable.
  std::optional<AveragedState> average;
  std::optional<ParameterSet> average_values;  // where it may not be stored
};

// The next global state: a pure function of the parent and the frozen set `updates`, sorted by
// client. `initial_sha256`: blob of the state of round 0. Memory is that of the model whatever
// their number, but for robust rules (DecodedMean). `running` may have a part of the sum already;
// those of `received` that are missing in it are added by their digests. Where that does not cover
// the whole set, or something in it does not fit, the files are all read again and judged by their
// SHA-256. `coded`: of this round where the job's updates are coded, else null. `choice`: of
// RoundStart. Errors: those of DecodedMean; DataLoss (exit 8) when a stored blob is not what was
// acknowledged; ResourceExhausted (kRetryLater).
absl::StatusOr<AggregatedRound> AggregateRound(
    BlobStore& blobs, const JobPlan& plan, const ModelRecord& parent,
    const std::string& initial_sha256, const std::vector<UpdateRecord>& updates,
    std::span<const ReceivedUpdate> received, RunningRound& running,
    const CodedRound* coded = nullptr, const std::string& choice = {});

// The same under masks: the sums of the packed vectors, opened by `round`, with every figure in
// them; robust.rule over the means of the groups where there are several. With noise of the
// coordinator, `noise_seed` as below; clients have clipped their updates to terms.clip_norm. Errors
// also: those of MaskedGroup::Open; FailedPrecondition when fewer groups can be opened than the
// rule needs.
absl::StatusOr<AggregatedRound> AggregateMasked(BlobStore& blobs, const JobPlan& plan,
                                                const ModelRecord& parent,
                                                const std::string& initial_sha256,
                                                const std::vector<UpdateRecord>& updates,
                                                std::string_view noise_seed,
                                                const RoundTerms& terms, MaskedRound& round,
                                                RunningRound& running);

// The same with noise of the coordinator (privacy.mechanism = "central"): every update is clipped
// to terms.clip_norm, the sum gets noise from `noise_seed` (32 bytes; of the job where rounds
// share it), and is divided by what was expected of those invited. The same seed gives the same
// bytes. Errors also: OutOfRange for more noise than the grid holds.
absl::StatusOr<AggregatedRound> AggregateCentral(
    BlobStore& blobs, const JobPlan& plan, const ModelRecord& parent,
    const std::string& initial_sha256, const std::vector<UpdateRecord>& updates,
    std::string_view noise_seed, const RoundTerms& terms, RunningRound& running,
    const CodedRound* coded, const std::string& choice = {});

// Round 0. `base_tensors` is the file that plan.base_tensors names; null when there is none. It is
// not kept: round 0 holds its values. Errors: InvalidArgument (exit 3) for a file that is missing,
// not of manifest plan.from_base, or holds a value that is not finite; DataLoss for another hash;
// those of the plan's initial(). `values`: where it is not null, gets the state itself.
absl::StatusOr<ModelRecord> StoreInitialState(BlobStore& blobs, const JobPlan& plan,
                                              const BlobReader* base_tensors,
                                              ParameterSet* values = nullptr);

}  // namespace rivulet
