// Rounds with noise of the coordinator.
#include <utility>

#include "aggregation/fixed_point_sum.h"
#include "aggregation/scale.h"
#include "coordinator/rounds/bounded_sum.h"
#include "coordinator/rounds/decoded_mean.h"
#include "coordinator/rounds/next_state.h"
#include "coordinator/rounds/round_privacy.h"
#include "privacy/dp/clip.h"
#include "privacy/dp/mechanism.h"
#include "privacy/dp/noise_seed.h"

namespace rivulet {
absl::StatusOr<AggregatedRound> AggregateCentral(
    BlobStore& blobs, const JobPlan& plan, const ModelRecord& parent,
    const std::string& initial_sha256, const std::vector<UpdateRecord>& updates,
    std::string_view noise_seed, const RoundTerms& terms, RunningRound& running,
    const CodedRound* coded, const std::string& choice) {
  RV_ASSIGN_OR_RETURN(FixedPointSum sum, FixedPointSum::Make(plan.update_manifest()));
  RV_ASSIGN_OR_RETURN(const CentralRun noise, CentralRunOf(plan, terms));
  // Of one update in one round, whatever the noise of other rounds.
  const double bound =
      CentralNoise{noise.noise_multiplier, noise.clip_norm, noise.values}.Sensitivity();
  int64_t bits = 0;  // of adaptive clipping
  for (const UpdateRecord& update : updates) {
    ParameterSet delta(plan.update_manifest());
    RV_RETURN_IF_ERROR(ReadUpdate(blobs, plan, coded, update, delta));
    const UpdateView view = ViewOf(delta);
    absl::StatusOr<Clipped> clipped = ClipOf(view, terms.clip_norm);
    if (!clipped.ok()) return Annotate(clipped.status(), "update of " + update.client);
    bits += ClipBitCoordinate(clipped->within);
    if (clipped->factor < 1) Scale(clipped->factor, delta);
    const absl::Status added = AddBounded(delta, bound, sum);
    if (!added.ok()) return Annotate(added, "update of " + update.client);
  }
  RV_ASSIGN_OR_RETURN(const NoiseSeed seed, NoiseSeed::FromStored(noise_seed));
  RV_RETURN_IF_ERROR(noise.AddTo(seed, static_cast<int64_t>(parent.round) + 1, sum.words()));
  RV_ASSIGN_OR_RETURN(const double denominator, DenominatorOf(plan.spec, terms.invited));
  const ParameterSet mean = sum.MeanOver(denominator);
  RV_ASSIGN_OR_RETURN(ParameterSet state, running.TakeParent(blobs, parent.sha256));
  RoundFigures figures;  // losses and counts of clients would be releases without noise
  for (const UpdateRecord& update : updates) {
    figures.bytes_up += static_cast<int64_t>(update.bytes);
  }
  RoundStart start{parent, initial_sha256};
  start.choice = choice;
  RV_ASSIGN_OR_RETURN(AggregatedRound result,
                      NextState(blobs, plan, start, mean, std::move(state), std::move(figures)));
  if (plan.spec.privacy.adaptive_clip) {
    RV_ASSIGN_OR_RETURN(const AdaptiveClip clip, AdaptiveClipOf(plan, terms));
    RV_RETURN_IF_ERROR(AddClipBitNoise(plan, terms, seed, bits));
    result.clip_norm = clip.Next(terms.clip_norm, clip.MeanBit(NoisedBitSum(bits)));
  }
  return result;
}

}  // namespace rivulet
