#include "coordinator/rounds/next_state.h"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "aggregation/server_optimizer.h"
#include "common/formats/safetensors_writer.h"
#include "coordinator/rounds/scalar_step.h"
#include "coordinator/rounds/snapshots.h"
#include "coordinator/rounds/update_file.h"

namespace rivulet {
namespace {

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
                                          const RoundStart& start, const ParameterSet& mean,
                                          ParameterSet state, RoundFigures figures) {
  const ModelRecord& parent = start.parent;
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
  if (plan.scalars) {
    RV_ASSIGN_OR_RETURN(ScalarStep step,
                        MoveByScalars(blobs, plan, start, mean, *optimizer, state));
    result.stored = !KeepsLog(plan.spec);
    if (result.stored) {
      RV_RETURN_IF_ERROR(StoreState(blobs, state, result.model));
    } else {
      NameState(state, result.model);
    }
    RV_RETURN_IF_ERROR(PutScalarStep(blobs, plan, parent, std::move(step), result.model));
  } else {
    if (!mean.empty()) RV_RETURN_IF_ERROR(optimizer->Apply(mean, state));
    RV_RETURN_IF_ERROR(StoreState(blobs, state, result.model));
  }
  if (!optimizer->State().empty()) {
    RV_ASSIGN_OR_RETURN(result.model.optimizer_sha256,
                        blobs.Put(SafetensorsBytes(optimizer->State())));
  }
  result.state = std::move(state);
  return result;
}

absl::StatusOr<ModelRecord> StoreInitialState(BlobStore& blobs, const JobPlan& plan,
                                              const BlobReader* base_tensors,
                                              ParameterSet* values) {
  absl::StatusOr<ParameterSet> from_base = ReadBaseTensors(base_tensors, plan);
  if (!from_base.ok()) {
    const absl::Status status = Annotate(from_base.status(), "base tensors");
    return from_base.status().code() == absl::StatusCode::kInvalidArgument
               ? WithExit(status, ExitCode::kConfig)
               : status;
  }
  RV_ASSIGN_OR_RETURN(ParameterSet state, plan.initial(*from_base));
  ModelRecord model;
  RV_RETURN_IF_ERROR(StoreState(blobs, state, model));
  if (values != nullptr) *values = std::move(state);
  return model;
}

}  // namespace rivulet
