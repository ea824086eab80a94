#include "aggregation/robust/tensor_rms.h"

#include <cmath>
#include <string>

#include "aggregation/robust/batch.h"
#include "aggregation/robust/kernels.h"
#include "aggregation/robust/median_of.h"

namespace rivulet {
namespace {

absl::Status CheckRunning(std::span<const double> running, size_t tensors, double decay) {
  if (!(decay >= 0) || !(decay < 1)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "tensor RMS: got a decay of " + std::to_string(decay) + ", want 0 .. 1");
  }
  if (!running.empty() && running.size() != tensors) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "tensor RMS: got " + std::to_string(running.size()) + " scales, want " +
                      std::to_string(tensors));
  }
  for (const double scale : running) {
    if (scale > 0 && std::isfinite(scale)) continue;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "tensor RMS: got a scale of " + std::to_string(scale) + ", want above 0");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<double>> NextTensorRms(std::span<const double> running,
                                                  const Manifest& manifest,
                                                  const std::vector<UpdateView>& updates,
                                                  double decay) {
  RV_RETURN_IF_ERROR(CheckRunning(running, manifest.size(), decay));
  if (updates.empty()) {
    return Refuse(absl::StatusCode::kFailedPrecondition, "tensor RMS: got no updates, want one");
  }
  RobustContext context;
  context.manifest = &manifest;
  RV_ASSIGN_OR_RETURN(const UpdateBatch batch, UpdateBatch::Make({}, updates, context));
  const size_t n = batch.n();
  const std::vector<double> squares =
      batch.Sums(manifest.size() * n, [&](const UpdatePiece& piece, double* sums) {
        for (size_t update = 0; update < n; ++update) {
          sums[piece.tensor * n + update] += SquaredNorm(batch.values(update, piece));
        }
      });
  RV_RETURN_IF_ERROR(batch.CheckNumbers(squares));
  std::vector<double> next;
  for (size_t tensor = 0; tensor < manifest.size(); ++tensor) {
    const double median = MedianOf(std::span(squares).subspan(tensor * n, n));
    const double count = static_cast<double>(manifest[tensor].elements());
    const double rms = median > 0 ? std::sqrt(median / count) : 0;
    const double before = running.empty() ? (rms > 0 ? rms : 1) : running[tensor];
    next.push_back(rms > 0 ? decay * before + (1 - decay) * rms : before);
  }
  return next;
}

}  // namespace rivulet
