#include "coordinator/rounds/snapshots.h"

#include <future>
#include <span>
#include <utility>
#include <vector>

#include "aggregation/scalars/scalar_replay.h"
#include "aggregation/upload/plain_upload.h"
#include "common/formats/safetensors_writer.h"
#include "common/launch.h"
#include "coordinator/rounds/update_file.h"

namespace rivulet {
namespace {

std::vector<std::span<const std::byte>> PiecesOf(const SafetensorsPieces& file) {
  std::vector<std::span<const std::byte>> pieces = {std::as_bytes(std::span(file.head))};
  pieces.insert(pieces.end(), file.tensors.begin(), file.tensors.end());
  return pieces;
}

uint64_t BytesOf(const SafetensorsPieces& file) {
  uint64_t bytes = file.head.size();
  for (const std::span<const std::byte> piece : file.tensors) bytes += piece.size();
  return bytes;
}

std::string NameOf(const SafetensorsPieces& file) {
  Sha256 hash;
  for (const std::span<const std::byte> piece : PiecesOf(file)) hash.Update(piece);
  return HexOf(hash.Finish());
}

// Of the tensors; beside that of the file, which are the same bytes.
std::future<std::string> HashOf(const ParameterSet& state) {
  return std::async(LaunchFor(SizeBytesOf(state.manifest())), [&state] { return state.HashHex(); });
}

absl::Status WrongState(const ModelRecord& snapshot, const ModelRecord& model, uint64_t log,
                        const std::string& got) {
  return WithExit(
      Refuse(absl::StatusCode::kDataLoss,
             "state of round " + std::to_string(model.round) + ": made from that of round " +
                 std::to_string(snapshot.round) + " and " + std::to_string(log) +
                 " bytes of log, got " + got + ", want " + model.sha256),
      ExitCode::kState);
}

// What is logged between the two.
uint64_t TailBytes(const JobPlan& plan, const ModelRecord& snapshot, const ModelRecord& model) {
  return model.log_from + model.log_bytes - PositionOf(plan, snapshot);
}

}  // namespace

bool IsKept(const JobPlan& plan, uint64_t round) {
  if (round == 0 && ChoosesByMovement(plan.spec)) return true;            // uploads are read by it
  if (round == 0 && plan.scalars && plan.scalars->pooled()) return true;  // all states grow from it
  const int every = plan.spec.export_.save_every_round;
  return every > 0 && round % static_cast<uint64_t>(every) == 0;
}

uint64_t PositionOf(const JobPlan& plan, const ModelRecord& model) {
  return plan.scalars->pooled() ? 0 : model.log_from + model.log_bytes;
}

bool LeadsFrom(const JobPlan& plan, const ModelRecord& snapshot, const ModelRecord& model) {
  if (snapshot.sha256 == model.sha256) return true;
  if (!KeepsLog(plan.spec) || (plan.scalars->pooled() && snapshot.round > 0)) return false;
  const uint64_t position = PositionOf(plan, snapshot);
  return position >= model.log_from && position <= model.log_from + model.log_bytes;
}

bool IsSnapshotDue(const JobPlan& plan, const ModelRecord& snapshot, const ModelRecord& model) {
  if (!KeepsLog(plan.spec) || IsKept(plan, model.round)) return true;
  if (!LeadsFrom(plan, snapshot, model)) return true;
  if (snapshot.sha256 == model.sha256) return false;
  const uint64_t tail = TailBytes(plan, snapshot, model);
  return tail >= model.bytes || DrawsOf(*plan.scalars, tail) > kMostReplay;
}

void NameState(const ParameterSet& state, ModelRecord& model) {
  std::future<std::string> hash = HashOf(state);
  const SafetensorsPieces file = SafetensorsPiecesOf(state);
  model.sha256 = NameOf(file);
  model.bytes = BytesOf(file);
  model.state_hash = hash.get();
}

absl::Status StoreState(BlobStore& blobs, const ParameterSet& state, ModelRecord& model) {
  std::future<std::string> hash;
  if (model.state_hash.empty()) hash = HashOf(state);
  const SafetensorsPieces file = SafetensorsPiecesOf(state);
  absl::StatusOr<std::string> name = blobs.PutPieces(PiecesOf(file));
  if (hash.valid()) model.state_hash = hash.get();
  RV_RETURN_IF_ERROR(name.status());
  if (!model.sha256.empty() && *name != model.sha256) {
    return WithExit(
        Refuse(absl::StatusCode::kDataLoss, "state of round " + std::to_string(model.round) +
                                                ": stored as " + *name + ", want " + model.sha256),
        ExitCode::kState);
  }
  model.sha256 = *std::move(name);
  model.bytes = BytesOf(file);
  return absl::OkStatus();
}

absl::Status StoreIfDue(BlobStore& blobs, const JobPlan& plan, const ModelRecord& snapshot,
                        AggregatedRound& round) {
  round.stored = round.stored || round.model.sha256 == snapshot.sha256;
  if (round.stored || !IsSnapshotDue(plan, snapshot, round.model)) return absl::OkStatus();
  RV_RETURN_IF_ERROR(StoreState(blobs, round.state, round.model));
  round.stored = true;
  return absl::OkStatus();
}

absl::StatusOr<ParameterSet> ReadState(const BlobStore& blobs, const JobPlan& plan,
                                       const ModelRecord& snapshot, const ModelRecord& model,
                                       MovingAverage* average) {
  RV_ASSIGN_OR_RETURN(ParameterSet state, ReadOwnState(blobs, snapshot.sha256, plan.manifest));
  if (snapshot.sha256 == model.sha256) return state;
  if (!LeadsFrom(plan, snapshot, model)) {
    return WrongState(snapshot, model, 0, "none that the log leads to");
  }
  std::string log;
  if (!model.log_sha256.empty()) {
    RV_ASSIGN_OR_RETURN(log, blobs.Get(model.log_sha256, model.log_bytes));
  }
  const uint64_t tail = TailBytes(plan, snapshot, model);
  if (tail > log.size()) return WrongState(snapshot, model, log.size(), "a log that is cut");
  log.erase(0, log.size() - tail);
  RV_RETURN_IF_ERROR(Replay(*plan.scalars, plan.spec.strategy, log, state, {}, average));
  const std::string got = NameOf(SafetensorsPiecesOf(state));
  if (got != model.sha256) return WrongState(snapshot, model, tail, got);
  return state;
}

}  // namespace rivulet
