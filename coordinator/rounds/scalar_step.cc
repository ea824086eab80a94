#include "coordinator/rounds/scalar_step.h"

#include <utility>

#include "aggregation/scalars/scalar_replay.h"
#include "coordinator/rounds/update_file.h"

namespace rivulet {
namespace {

constexpr uint64_t kMostWaiting = uint64_t{64} << 20;  // then the state moves, sure or not

// scalars.target-ratio: moves the state once all that was measured of it is sure enough.
absl::Status MoveWhenSure(const JobPlan& plan, const ScalarRound& round,
                          const std::vector<float>& moves, ScalarStep& step, ParameterSet& state) {
  const ScalarForm& form = *plan.scalars;
  RV_RETURN_IF_ERROR(AddRound(form, round, moves, step.waiting));
  const bool sure = SignalRatio(form, step.waiting) >= plan.spec.scalars.target_ratio;
  if (!sure && step.waiting.records.size() < kMostWaiting) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(
      const std::string together,
      MoveTogether(form, plan.spec.strategy, std::exchange(step.waiting, {}), state));
  step.log += together;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ScalarStep> MoveByScalars(BlobStore& blobs, const JobPlan& plan,
                                         const RoundStart& start, const ParameterSet& mean,
                                         ServerOptimizer& optimizer, ParameterSet& state) {
  const ScalarForm& form = *plan.scalars;
  const ModelRecord& parent = start.parent;
  const bool waits = plan.spec.scalars.target_ratio > 0;
  const ScalarRound round{parent.round + 1, start.session_root, start.choice};
  ScalarStep step;
  if (!parent.log_sha256.empty()) {
    RV_ASSIGN_OR_RETURN(step.log, blobs.Get(parent.log_sha256, parent.log_bytes));
  }
  if (waits && !parent.optimizer_sha256.empty()) {
    const uint64_t most = 2 * kMostWaiting + SizeBytesOf(form.trained());
    RV_ASSIGN_OR_RETURN(std::string waiting, blobs.Get(parent.optimizer_sha256, most));
    RV_ASSIGN_OR_RETURN(step.waiting, WaitingRoundsOf(form, std::move(waiting)));
  }
  if (mean.empty()) return step;
  const std::vector<float> moves = MovesOf(form, mean, start.owners);
  if (waits) {
    RV_RETURN_IF_ERROR(MoveWhenSure(plan, round, moves, step, state));
    return step;
  }
  if (KeepsLog(plan.spec)) {
    RV_ASSIGN_OR_RETURN(step.log, Extended(form, std::move(step.log), round, moves));
  }
  if (form.pooled()) {
    RV_ASSIGN_OR_RETURN(state, ReadOwnState(blobs, start.initial_sha256, plan.manifest));
    RV_RETURN_IF_ERROR(Replay(form, plan.spec.strategy, step.log, state));
    return step;
  }
  RV_ASSIGN_OR_RETURN(const ParameterSet delta, DeltaOf(form, round, moves));
  RV_RETURN_IF_ERROR(optimizer.Apply(delta, state));
  return step;
}

absl::Status PutScalarStep(BlobStore& blobs, const JobPlan& plan, const ModelRecord& parent,
                           ScalarStep step, ModelRecord& model) {
  if (!step.waiting.records.empty()) {  // where an optimiser has its memory; fedavg has none
    RV_ASSIGN_OR_RETURN(model.optimizer_sha256, blobs.Put(BytesOf(step.waiting)));
  }
  if (!KeepsLog(plan.spec)) return absl::OkStatus();
  const size_t dropped =
      plan.scalars->pooled() ? 0 : BytesBeyond(*plan.scalars, step.log, model.bytes);
  step.log.erase(0, dropped);
  model.log_from = parent.log_from + dropped;
  model.log_bytes = step.log.size();
  if (step.log.empty()) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(model.log_sha256, blobs.Put(step.log));
  return absl::OkStatus();
}

absl::Status ChooseNext(const BlobStore& blobs, const JobPlan& plan, AggregatedRound& result) {
  const ModelRecord& model = result.model;
  std::string log;
  if (!model.log_sha256.empty()) {
    RV_ASSIGN_OR_RETURN(log, blobs.Get(model.log_sha256, model.log_bytes));
  }
  RV_ASSIGN_OR_RETURN(result.choice, ChoiceFor(*plan.scalars, {model.round + 1}, log));
  return absl::OkStatus();
}

std::vector<double> OwnersOf(const JobPlan& plan, uint64_t round,
                             const std::vector<UpdateRecord>& updates) {
  if (!plan.scalars || plan.scalars->splits() == 1) return {};
  std::vector<double> owners(static_cast<size_t>(plan.scalars->splits()));
  double all = 0;
  for (const UpdateRecord& update : updates) {
    const double weight = static_cast<double>(update.weight);
    owners[static_cast<size_t>(plan.scalars->SplitOf(round, update.client))] += weight;
    all += weight;
  }
  for (double& owner : owners) owner /= all;
  return owners;
}

}  // namespace rivulet
