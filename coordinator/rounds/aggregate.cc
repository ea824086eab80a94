#include "coordinator/rounds/aggregate.h"

#include <algorithm>
#include <future>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "aggregation/fixed_point_sum.h"
#include "aggregation/lora_rules.h"
#include "aggregation/server_optimizer.h"
#include "aggregation/upload/plain_upload.h"
#include "common/formats/safetensors_writer.h"
#include "coordinator/rounds/decoded_mean.h"
#include "coordinator/rounds/masked_mean.h"
#include "coordinator/rounds/round_privacy.h"
#include "coordinator/rounds/update_file.h"
#include "privacy/dp/clip.h"
#include "privacy/dp/mechanism.h"
#include "privacy/dp/noise_seed.h"

namespace rivulet {
namespace {

// The bias of factor averaging needs all updates at once and time quadratic in their number: it is
// reported where that is small beside the rest.
constexpr uint64_t kBiasBytes = uint64_t{32} << 20;
constexpr size_t kBiasUpdates = 64;
constexpr size_t kPutBytes = size_t{256} << 10;
constexpr uint64_t kThreadBytes = uint64_t{1} << 20;  // of a state that is worth a thread

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
  if (plan.spec.robust.rule != "none") return std::nullopt;
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

absl::StatusOr<std::string> PutFile(BlobStore& blobs, const ParameterSet& state, uint64_t* bytes) {
  const SafetensorsPieces file = SafetensorsPiecesOf(state);
  *bytes = file.head.size();
  for (const std::span<const std::byte> tensor : file.tensors) *bytes += tensor.size();
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, blobs.Create(*bytes));
  RV_RETURN_IF_ERROR(writer->Append(std::as_bytes(std::span(file.head))));
  for (std::span<const std::byte> left : file.tensors) {
    while (!left.empty()) {  // hashed while it is still in the cache
      const auto piece = left.first(std::min(left.size(), kPutBytes));
      RV_RETURN_IF_ERROR(writer->Append(piece));
      left = left.subspan(piece.size());
    }
  }
  return writer->Commit("");
}

// Two hashes of the same bytes, one of the file and one of the tensors: side by side.
absl::Status PutState(BlobStore& blobs, const ParameterSet& state, ModelRecord& model) {
  std::future<std::string> hash = std::async(
      // Both: where no thread can be started it is computed by get().
      SizeBytesOf(state.manifest()) < kThreadBytes ? std::launch::deferred
                                                   : std::launch::async | std::launch::deferred,
      [&state] { return state.HashHex(); });
  absl::StatusOr<std::string> name = PutFile(blobs, state, &model.bytes);
  model.state_hash = hash.get();
  RV_RETURN_IF_ERROR(name.status());
  model.sha256 = *std::move(name);
  return absl::OkStatus();
}

absl::StatusOr<ParameterSet> ReadBaseTensors(const BlobReader* file, const JobPlan& plan) {
  ParameterSet values(plan.from_base);
  if (plan.from_base.empty()) return values;
  if (file == nullptr || file->size() == 0) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "got no bytes, want a file of " + std::to_string(SizeBytesOf(plan.from_base)) +
                      " bytes of values");
  }
  const auto copy = [&](size_t row, size_t first, std::span<const float> piece) {
    std::copy(piece.begin(), piece.end(), values.floats(row).subspan(first).begin());
    return absl::OkStatus();
  };
  RV_RETURN_IF_ERROR(
      StreamTensors(*file, plan.from_base, SafetensorsProfile::kUpload, plan.base_tensors, copy));
  RV_RETURN_IF_ERROR(CheckFinite(values));
  return values;
}

// Moves `state`, that of `parent`, by the round's mean update and stores what comes of it.
absl::StatusOr<AggregatedRound> NextState(BlobStore& blobs, const JobPlan& plan,
                                          const ModelRecord& parent, const ParameterSet& mean,
                                          ParameterSet state, RoundFigures figures) {
  AggregatedRound result;
  result.model.job = parent.job;
  result.model.round = parent.round + 1;
  result.model.parent_sha256 = parent.sha256;
  result.figures = std::move(figures);
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<ServerOptimizer> optimizer,
                      MakeServerOptimizer(plan.spec.strategy, plan.manifest));
  if (!parent.optimizer_sha256.empty()) {
    RV_ASSIGN_OR_RETURN(ParameterSet kept, ReadOwnState(blobs, parent.optimizer_sha256,
                                                        optimizer->State().manifest()));
    RV_RETURN_IF_ERROR(optimizer->Restore(std::move(kept)));
  }
  RV_RETURN_IF_ERROR(optimizer->Apply(mean, state));
  RV_RETURN_IF_ERROR(PutState(blobs, state, result.model));
  if (!optimizer->State().empty()) {
    RV_ASSIGN_OR_RETURN(result.model.optimizer_sha256,
                        blobs.Put(SafetensorsBytes(optimizer->State())));
  }
  return result;
}

}  // namespace

absl::StatusOr<AggregatedRound> AggregateRound(BlobStore& blobs, const JobPlan& plan,
                                               const ModelRecord& parent,
                                               const std::vector<UpdateRecord>& updates,
                                               std::span<const ReceivedUpdate> received,
                                               RunningRound& running, const CodedRound* coded) {
  RoundMean mean;
  if (NeedsDecodedMean(plan.spec)) {
    RV_ASSIGN_OR_RETURN(mean, DecodedMean(blobs, plan, coded, updates));
  } else {
    RV_ASSIGN_OR_RETURN(mean.mean, MeanOf(blobs, plan.manifest, updates, received, running));
  }
  RV_ASSIGN_OR_RETURN(ParameterSet state, running.TakeParent(blobs, parent.sha256));
  RoundFigures figures = FiguresOf(updates);
  figures.bias = BiasOf(blobs, plan, coded, state, updates);
  figures.left_out = std::move(mean.left_out);
  RV_ASSIGN_OR_RETURN(AggregatedRound result, NextState(blobs, plan, parent, mean.mean,
                                                        std::move(state), std::move(figures)));
  result.scaled = mean.scaled;
  return result;
}

absl::StatusOr<AggregatedRound> AggregateMasked(BlobStore& blobs, const JobPlan& plan,
                                                const ModelRecord& parent,
                                                const std::vector<UpdateRecord>& updates,
                                                const std::string& initial_sha256,
                                                MaskedRound& round, RunningRound& running) {
  RV_ASSIGN_OR_RETURN(ParameterSet state, running.TakeParent(blobs, parent.sha256));
  std::vector<float> movement;
  if (plan.masked->chooses_by_movement() && parent.round > 0) {
    RV_ASSIGN_OR_RETURN(const ParameterSet initial,
                        ReadOwnState(blobs, initial_sha256, plan.manifest));
    const ParameterSet moved = MovementOf(state, initial);
    std::vector<float> storage;
    const std::span<const float> flat = Flatten(moved, storage);
    movement.assign(flat.begin(), flat.end());
  }
  RV_ASSIGN_OR_RETURN(MaskedMean mean, OpenMaskedMean(blobs, plan, updates, movement, round));
  if (plan.spec.strategy.aggregation == "freeze-a") mean.figures.bias = 0;
  RV_ASSIGN_OR_RETURN(AggregatedRound result, NextState(blobs, plan, parent, mean.mean,
                                                        std::move(state), std::move(mean.figures)));
  result.scaled = mean.scaled;
  return result;
}

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
  const CentralNoise noise{plan.noise_multiplier, clip, static_cast<int64_t>(sum.words().size())};
  RV_ASSIGN_OR_RETURN(const uint64_t variance, noise.Variance());
  RV_ASSIGN_OR_RETURN(const NoiseSeed seed, NoiseSeed::FromStored(noise_seed));
  RV_RETURN_IF_ERROR(AddCentralNoise(seed, variance, 0, sum.words()));
  RV_ASSIGN_OR_RETURN(const double denominator, DenominatorOf(plan.spec, invited));
  const ParameterSet mean = sum.MeanOver(denominator);
  RV_ASSIGN_OR_RETURN(ParameterSet state, running.TakeParent(blobs, parent.sha256));
  RoundFigures figures;  // losses and counts of clients would be releases without noise
  for (const UpdateRecord& update : updates) {
    figures.bytes_up += static_cast<int64_t>(update.bytes);
  }
  return NextState(blobs, plan, parent, mean, std::move(state), std::move(figures));
}

absl::StatusOr<ModelRecord> StoreInitialState(BlobStore& blobs, const JobPlan& plan,
                                              const BlobReader* base_tensors) {
  absl::StatusOr<ParameterSet> from_base = ReadBaseTensors(base_tensors, plan);
  if (!from_base.ok()) {
    const absl::Status status = Annotate(from_base.status(), "base tensors");
    return from_base.status().code() == absl::StatusCode::kInvalidArgument
               ? WithExit(status, ExitCode::kConfig)
               : status;
  }
  RV_ASSIGN_OR_RETURN(const ParameterSet state, plan.initial(*from_base));
  ModelRecord model;
  RV_RETURN_IF_ERROR(PutState(blobs, state, model));
  return model;
}

}  // namespace rivulet
