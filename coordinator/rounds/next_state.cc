#include "coordinator/rounds/next_state.h"

#include <algorithm>
#include <future>
#include <memory>
#include <span>
#include <utility>

#include "aggregation/scalars/scalar_replay.h"
#include "aggregation/server_optimizer.h"
#include "common/formats/safetensors_writer.h"
#include "coordinator/rounds/update_file.h"

namespace rivulet {
namespace {

constexpr size_t kPutBytes = size_t{256} << 10;
constexpr uint64_t kMostRecords = uint64_t{64} << 20;  // that a state waits for
constexpr uint64_t kThreadBytes = uint64_t{1} << 20;   // of a state that is worth a thread

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

// The log of coefficients by which clients make the next state for themselves: never as long as the
// state, for who lacks that much is better served with it.
absl::Status PutLog(BlobStore& blobs, const JobPlan& plan, std::string log,
                    const ModelRecord& parent, ModelRecord& model) {
  const size_t dropped = plan.scalars->pooled() ? 0 : BytesBeyond(*plan.scalars, log, model.bytes);
  log.erase(0, dropped);
  model.log_from = parent.log_from + dropped;
  model.log_bytes = log.size();
  if (log.empty()) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(model.log_sha256, blobs.Put(log));
  return absl::OkStatus();
}

// scalars.target-ratio: what was measured of this state in the rounds before lies where an
// optimiser has its memory.
absl::Status MoveWhenSure(BlobStore& blobs, const JobPlan& plan, const ModelRecord& parent,
                          const ParameterSet& mean, std::string& log, ParameterSet& state,
                          ModelRecord& model) {
  const ScalarForm& form = *plan.scalars;
  std::string records;
  if (!parent.optimizer_sha256.empty()) {
    RV_ASSIGN_OR_RETURN(records, blobs.Get(parent.optimizer_sha256, kMostRecords));
  }
  RV_ASSIGN_OR_RETURN(records,
                      Extended(form, std::move(records), model.round, MovesOf(form, mean)));
  RV_ASSIGN_OR_RETURN(const double ratio, SignalRatio(form, records));
  if (ratio < plan.spec.scalars.target_ratio && records.size() < kMostRecords) {
    RV_ASSIGN_OR_RETURN(model.optimizer_sha256, blobs.Put(records));
    return absl::OkStatus();
  }
  const std::string together = Together(form, std::move(records));
  RV_RETURN_IF_ERROR(Replay(form, plan.spec.strategy, together, state));
  log += together;
  return absl::OkStatus();
}

absl::Status MoveByScalars(BlobStore& blobs, const JobPlan& plan, const ModelRecord& parent,
                           const std::string& initial_sha256, const ParameterSet& mean,
                           ServerOptimizer& optimizer, ParameterSet& state, ModelRecord& model) {
  const ScalarForm& form = *plan.scalars;
  std::string log;
  if (!parent.log_sha256.empty()) {
    RV_ASSIGN_OR_RETURN(log, blobs.Get(parent.log_sha256, parent.log_bytes));
  }
  if (!mean.empty() && plan.spec.scalars.target_ratio > 0) {
    RV_RETURN_IF_ERROR(MoveWhenSure(blobs, plan, parent, mean, log, state, model));
  } else if (!mean.empty()) {
    const std::vector<float> moves = MovesOf(form, mean);
    if (KeepsLog(plan.spec)) {
      RV_ASSIGN_OR_RETURN(log, Extended(form, std::move(log), model.round, moves));
    }
    if (form.pooled()) {
      RV_ASSIGN_OR_RETURN(state, ReadOwnState(blobs, initial_sha256, plan.manifest));
      RV_RETURN_IF_ERROR(Replay(form, plan.spec.strategy, log, state));
    } else {
      RV_ASSIGN_OR_RETURN(const ParameterSet delta, DeltaOf(form, model.round, moves));
      RV_RETURN_IF_ERROR(optimizer.Apply(delta, state));
    }
  }
  RV_RETURN_IF_ERROR(PutState(blobs, state, model));
  return KeepsLog(plan.spec) ? PutLog(blobs, plan, std::move(log), parent, model)
                             : absl::OkStatus();
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

}  // namespace

absl::StatusOr<AggregatedRound> NextState(BlobStore& blobs, const JobPlan& plan,
                                          const ModelRecord& parent,
                                          const std::string& initial_sha256,
                                          const ParameterSet& mean, ParameterSet state,
                                          RoundFigures figures) {
  AggregatedRound result;
  result.model.job = parent.job;
  result.model.round = parent.round + 1;
  result.model.parent_sha256 = parent.sha256;
  result.figures = std::move(figures);
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<ServerOptimizer> optimizer,
                      MakeServerOptimizer(plan.spec.strategy, plan.manifest));
  if (!parent.optimizer_sha256.empty() && !optimizer->State().empty()) {
    RV_ASSIGN_OR_RETURN(ParameterSet kept, ReadOwnState(blobs, parent.optimizer_sha256,
                                                        optimizer->State().manifest()));
    RV_RETURN_IF_ERROR(optimizer->Restore(std::move(kept)));
  }
  if (!plan.scalars) {
    if (!mean.empty()) RV_RETURN_IF_ERROR(optimizer->Apply(mean, state));
    RV_RETURN_IF_ERROR(PutState(blobs, state, result.model));
  } else {
    RV_RETURN_IF_ERROR(
        MoveByScalars(blobs, plan, parent, initial_sha256, mean, *optimizer, state, result.model));
  }
  if (!optimizer->State().empty()) {
    RV_ASSIGN_OR_RETURN(result.model.optimizer_sha256,
                        blobs.Put(SafetensorsBytes(optimizer->State())));
  }
  return result;
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
