#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "coordinator/rounds/job_plan.h"
#include "coordinator/storage/blob_store.h"

namespace rivulet {

// With evaluate.ema: an exponential moving average of the global states, of which held-out figures
// are in their place (Feng et al. 2023, BAFFLE). Nothing is trained from it.
struct AveragedState {
  std::string sha256;  // blob: safetensors, as a state's
  uint64_t bytes = 0;
};

// That of the round whose global state is `state`: average + (1 - ema) (state - average) in
// binary32, each number by one fused multiply-add. `before`: blob of the average of the round
// before, of round 0 the state itself. The file is stored. Errors: those of the blob store.
absl::StatusOr<AveragedState> NextAverage(BlobStore& blobs, const JobPlan& plan,
                                          const std::string& before, const ParameterSet& state);

// "<sha256> <bytes>", as it stands in the state store. Errors: DataLoss for another text.
std::string TextOf(const AveragedState& average);
absl::StatusOr<AveragedState> AveragedStateFrom(std::string_view text);

}  // namespace rivulet
