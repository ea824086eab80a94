// Rounds with noise of the coordinator.
#include <utility>

#include "aggregation/fixed_point_sum.h"
#include "coordinator/rounds/decoded_mean.h"
#include "coordinator/rounds/next_state.h"
#include "coordinator/rounds/round_privacy.h"
#include "privacy/dp/clip.h"
#include "privacy/dp/noise_seed.h"

namespace rivulet {

absl::StatusOr<AggregatedRound> AggregateCentral(BlobStore& blobs, const JobPlan& plan,
                                                 const ModelRecord& parent,
                                                 const std::vector<UpdateRecord>& updates,
                                                 std::string_view noise_seed, int64_t invited,
                                                 RunningRound& running, const CodedRound* coded) {
  RV_ASSIGN_OR_RETURN(FixedPointSum sum, FixedPointSum::Make(plan.manifest));
  const double clip = plan.spec.privacy.clip_norm;
  for (const UpdateRecord& update : updates) {
    ParameterSet delta(plan.manifest);
    RV_RETURN_IF_ERROR(ReadUpdate(blobs, plan, coded, update, delta));
    const UpdateView view = ViewOf(delta);
    absl::StatusOr<Clipped> clipped = ClipOf(view, clip);
    if (!clipped.ok()) return Annotate(clipped.status(), "update of " + update.client);
    for (size_t row = 0; row < delta.size() && clipped->factor < 1; ++row) {
      for (float& value : delta.floats(row)) {
        value = static_cast<float>(value * clipped->factor);
      }
    }
    RV_RETURN_IF_ERROR(sum.Add(delta, 1));
  }
  RV_ASSIGN_OR_RETURN(const NoiseSeed seed, NoiseSeed::FromStored(noise_seed));
  RV_RETURN_IF_ERROR(
      CentralRunOf(plan).AddTo(seed, static_cast<int64_t>(parent.round) + 1, sum.words()));
  RV_ASSIGN_OR_RETURN(const double denominator, DenominatorOf(plan.spec, invited));
  const ParameterSet mean = sum.MeanOver(denominator);
  RV_ASSIGN_OR_RETURN(ParameterSet state, running.TakeParent(blobs, parent.sha256));
  RoundFigures figures;  // losses and counts of clients would be releases without noise
  for (const UpdateRecord& update : updates) {
    figures.bytes_up += static_cast<int64_t>(update.bytes);
  }
  return NextState(blobs, plan, parent, mean, std::move(state), std::move(figures));
}

}  // namespace rivulet
