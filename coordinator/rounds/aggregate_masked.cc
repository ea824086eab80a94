// Rounds under masks.
#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "aggregation/upload/plain_upload.h"
#include "coordinator/rounds/masked_mean.h"
#include "coordinator/rounds/next_state.h"
#include "coordinator/rounds/update_file.h"
#include "privacy/masking/direction_root.h"
#include "privacy/masking/first_pass.h"

namespace rivulet {

absl::StatusOr<AggregatedRound> AggregateMasked(BlobStore& blobs, const JobPlan& plan,
                                                const ModelRecord& parent,
                                                const std::string& initial_sha256,
                                                const std::vector<UpdateRecord>& updates,
                                                std::string_view noise_seed,
                                                const RoundTerms& terms, MaskedRound& round,
                                                RunningRound& running) {
  RV_ASSIGN_OR_RETURN(ParameterSet state, running.TakeParent(blobs, parent.sha256));
  MaskedReading reading;
  reading.first_sha256 = FirstPassOf(plan, parent);
  if (!reading.first_sha256.empty()) {
    RV_ASSIGN_OR_RETURN(reading.previous, ReadFirstPass(blobs, parent));
  }
  if (plan.masked->chooses_by_movement() && parent.round > 0) {
    RV_ASSIGN_OR_RETURN(const ParameterSet initial,
                        ReadOwnState(blobs, initial_sha256, plan.manifest));
    const ParameterSet moved = MovementOf(state, initial);
    std::vector<float> storage;
    const std::span<const float> flat = Flatten(moved, storage);
    reading.previous.assign(flat.begin(), flat.end());
  }
  RV_ASSIGN_OR_RETURN(MaskedMean mean,
                      OpenMaskedMean(blobs, plan, updates, reading, noise_seed, terms, round));
  const bool first_pass = plan.masked->two_passes() && reading.first_sha256.empty();
  if (first_pass) {
    mean.mean = ParameterSet();  // nothing moves yet
  } else if (plan.masked->two_passes()) {
    RV_RETURN_IF_ERROR(AddFirstPass(*plan.masked, parent.round + 1, reading.previous, mean.mean));
  }
  if (plan.spec.strategy.aggregation == "freeze-a") mean.figures.bias = 0;
  RoundStart start{parent, initial_sha256};
  if (plan.scalars && plan.scalars->of_session()) {  // there is one sum (CheckScalars)
    const secagg::ServerSession& session = round.group(0).session();
    start.session_root = DirectionRootOf(session.sid0(), session.sid());
  }
  RV_ASSIGN_OR_RETURN(AggregatedRound result, NextState(blobs, plan, start, mean.mean,
                                                        std::move(state), std::move(mean.figures)));
  result.scaled = mean.scaled;
  if (first_pass) {
    const std::string bytes = FirstPassBytes(mean.reduced);
    result.model.log_bytes = bytes.size();
    RV_ASSIGN_OR_RETURN(result.model.log_sha256, blobs.Put(bytes));
  }
  if (plan.masked->adaptive()) {
    RV_ASSIGN_OR_RETURN(const AdaptiveClip clip, AdaptiveClipOf(plan, terms));
    // A client that lies about its bit can put any number there: no more than one round's worth.
    const double share = std::clamp(clip.MeanBit(NoisedBitSum(mean.clip_bits)), 0.0, 1.0);
    result.clip_norm = clip.Next(terms.clip_norm, share);
  }
  return result;
}

}  // namespace rivulet
