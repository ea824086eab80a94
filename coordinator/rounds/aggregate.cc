#include "coordinator/rounds/aggregate.h"

#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "aggregation/fixed_point_sum.h"
#include "aggregation/lora_rules.h"
#include "coordinator/rounds/decoded_mean.h"
#include "coordinator/rounds/next_state.h"
#include "coordinator/rounds/scalar_step.h"
#include "coordinator/rounds/update_file.h"

namespace rivulet {
namespace {

// The bias of factor averaging needs all updates at once and time quadratic in their number: it is
// reported where that is small beside the rest.
constexpr uint64_t kBiasBytes = uint64_t{32} << 20;
constexpr size_t kBiasUpdates = 64;

// Uploads that are added up side by side.
struct UploadGroup {
  std::vector<std::unique_ptr<BlobReader>> blobs;
  std::vector<TensorStream> streams;
};

absl::StatusOr<UploadGroup> OpenGroup(const BlobStore& blobs, const Manifest& manifest,
                                      std::span<const UpdateRecord> updates) {
  UploadGroup group;
  for (const UpdateRecord& update : updates) {
    RV_ASSIGN_OR_RETURN(std::unique_ptr<BlobReader> blob, blobs.Open(update.sha256));
    absl::StatusOr<TensorStream> stream =
        TensorStream::Open(*blob, manifest, SafetensorsProfile::kUpload, update.sha256);
    if (!stream.ok()) return Annotate(stream.status(), "update of " + update.client);
    group.blobs.push_back(std::move(blob));
    group.streams.push_back(*std::move(stream));
  }
  return group;
}

// Adds the next piece of every upload. False at their end, which all reach together: they have the
// same tensors.
absl::StatusOr<bool> AddNext(UploadGroup& group, std::span<const UpdateRecord> updates,
                             FixedPointSum& sum) {
  std::vector<TensorStream::Piece> places;
  std::vector<WeightedPiece> pieces;
  bool aligned = true;
  for (size_t each = 0; each < updates.size(); ++each) {
    auto piece = group.streams[each].Next();
    if (!piece.ok()) return Annotate(piece.status(), "update of " + updates[each].client);
    if (!piece->has_value()) continue;
    places.push_back(**piece);
    pieces.push_back({places.back().values, updates[each].weight});
    aligned =
        aligned && places.back().row == places[0].row && places.back().first == places[0].first;
  }
  if (pieces.empty()) return false;
  if (aligned) {
    RV_RETURN_IF_ERROR(sum.AddPieces(places[0].row, places[0].first, pieces));
    return true;
  }
  // The files hold their tensors in different orders.
  for (size_t each = 0; each < pieces.size(); ++each) {
    RV_RETURN_IF_ERROR(sum.AddPieces(places[each].row, places[each].first, {&pieces[each], 1}));
  }
  return true;
}

// Whole files, each with its SHA-256.
absl::Status AddVerified(const BlobStore& blobs, const Manifest& manifest,
                         std::span<const UpdateRecord> updates, FixedPointSum& sum) {
  while (!updates.empty()) {
    const auto together = updates.first(std::min(updates.size(), FixedPointSum::kTogether));
    updates = updates.subspan(together.size());
    for (const UpdateRecord& update : together) RV_RETURN_IF_ERROR(sum.AddWeight(update.weight));
    RV_ASSIGN_OR_RETURN(UploadGroup group, OpenGroup(blobs, manifest, together));
    for (bool more = true; more;) {
      RV_ASSIGN_OR_RETURN(more, AddNext(group, together, sum));
    }
  }
  return absl::OkStatus();
}

// Completes what `running` has. Null when it is broken or an earlier process received an update: of
// that one there is no digest.
const FixedPointSum* Complete(const BlobStore& blobs, std::span<const UpdateRecord> updates,
                              std::span<const ReceivedUpdate> received, RunningRound& running) {
  std::map<std::string_view, const ReceivedUpdate*> by_client;
  for (const ReceivedUpdate& one : received) by_client[one.record.client] = &one;
  std::vector<ReceivedUpdate> missing;
  for (const UpdateRecord& update : updates) {
    if (running.Holds(update)) continue;
    const auto found = by_client.find(update.client);
    if (found == by_client.end() || found->second->record.sha256 != update.sha256) return nullptr;
    missing.push_back(*found->second);
  }
  return running.Add(blobs, missing, true).ok() ? running.SumWithin(updates) : nullptr;
}

absl::StatusOr<ParameterSet> MeanOf(const BlobStore& blobs, const Manifest& manifest,
                                    std::span<const UpdateRecord> updates,
                                    std::span<const ReceivedUpdate> received,
                                    RunningRound& running) {
  if (const auto* sum = Complete(blobs, updates, received, running)) return sum->Mean();
  running.DropSum();  // two of them would be the largest thing in memory
  RV_ASSIGN_OR_RETURN(FixedPointSum sum, FixedPointSum::Make(manifest));
  RV_RETURN_IF_ERROR(AddVerified(blobs, manifest, updates, sum));
  return sum.Mean();
}

// Empty where nobody knows: too many updates to look at together, no LoRA factors, or a rule that
// is not the mean.
std::optional<double> BiasOf(const BlobStore& blobs, const JobPlan& plan, const CodedRound* coded,
                             const ParameterSet& global, const std::vector<UpdateRecord>& updates) {
  if (plan.spec.robust.rule != "none" || plan.scalars) return std::nullopt;
  if (plan.spec.strategy.aggregation == "freeze-a") return 0;  // exact
  const bool small =
      updates.size() <= kBiasUpdates && updates.size() * SizeBytesOf(plan.manifest) <= kBiasBytes;
  if (!small) return std::nullopt;
  std::vector<ParameterSet> sets;
  std::vector<WeightedUpdate> weighted;
  sets.reserve(updates.size());
  for (const UpdateRecord& update : updates) {
    sets.emplace_back(plan.manifest);
    if (!ReadUpdate(blobs, plan, coded, update, sets.back()).ok()) return std::nullopt;
    weighted.push_back({ViewOf(sets.back()), update.weight});
  }
  const auto report = FactorBias(global, weighted);
  return report.ok() ? std::optional(report->total) : std::nullopt;
}

RoundFigures FiguresOf(const std::vector<UpdateRecord>& updates) {
  RoundFigures figures;
  double weight = 0;
  for (const UpdateRecord& update : updates) {
    figures.loss += update.loss * static_cast<double>(update.weight);
    weight += static_cast<double>(update.weight);
    figures.examples += update.examples;
    figures.tokens += update.tokens;
    figures.bytes_up += static_cast<int64_t>(update.bytes);
  }
  if (weight > 0) figures.loss /= weight;
  return figures;
}

double GradNormOf(std::span<const UpdateRecord> updates) {
  double sum = 0, weight = 0;
  for (const UpdateRecord& update : updates) {
    sum += update.grad_norm * static_cast<double>(update.weight);
    weight += static_cast<double>(update.weight);
  }
  return weight > 0 ? sum / weight : 0;
}

}  // namespace

absl::StatusOr<AggregatedRound> AggregateRound(BlobStore& blobs, const JobPlan& plan,
                                               const ModelRecord& parent,
                                               const std::string& initial_sha256,
                                               const std::vector<UpdateRecord>& updates,
                                               std::span<const ReceivedUpdate> received,
                                               RunningRound& running, const CodedRound* coded,
                                               const std::string& choice) {
  RoundMean mean;
  if (NeedsDecodedMean(plan.spec)) {
    RV_ASSIGN_OR_RETURN(mean, DecodedMean(blobs, plan, coded, updates));
  } else {
    RV_ASSIGN_OR_RETURN(mean.mean,
                        MeanOf(blobs, plan.update_manifest(), updates, received, running));
  }
  RV_ASSIGN_OR_RETURN(ParameterSet state, running.TakeParent(blobs, parent.sha256));
  RoundFigures figures = FiguresOf(updates);
  figures.bias = BiasOf(blobs, plan, coded, state, updates);
  figures.left_out = std::move(mean.left_out);
  const RoundStart start{parent, initial_sha256, OwnersOf(plan, parent.round + 1, updates), 0,
                         choice};
  RV_ASSIGN_OR_RETURN(AggregatedRound result, NextState(blobs, plan, start, mean.mean,
                                                        std::move(state), std::move(figures)));
  result.scaled = mean.scaled;
  if (plan.spec.privacy.mechanism == "none") result.grad_norm = GradNormOf(updates);
  return result;
}

}  // namespace rivulet
