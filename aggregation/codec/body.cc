#include "aggregation/codec/body.h"

#include <algorithm>

#include "aggregation/codec/kernels.h"

namespace rivulet {

std::span<const float> TakeIn(const EncodeJob& job) {
  if (job.residual.empty()) return job.values;
  codec_kernels::Add(job.residual.data(), job.values.data(), job.values.size());
  return job.residual;
}

absl::Status CheckBytes(std::string_view what, uint64_t got, uint64_t want) {
  if (got == want) return absl::OkStatus();
  return Refuse(
      absl::StatusCode::kInvalidArgument,
      std::string(what) + ": got " + std::to_string(got) + " bytes, want " + std::to_string(want));
}

absl::Status CheckScales(std::string_view what, std::span<const float> scales) {
  for (size_t at = 0; at < scales.size(); ++at) {
    if (scales[at] >= 0 && scales[at] <= kLargestScale) continue;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  std::string(what) + ": scale " + std::to_string(at) + ": got " +
                      std::to_string(scales[at]) + ", want 0..2^64");
  }
  return absl::OkStatus();
}

absl::StatusOr<RoundingSource*> RoundingOf(std::string_view codec, const CodecContext& context) {
  if (context.rounding != nullptr) return context.rounding;
  return Refuse(absl::StatusCode::kInvalidArgument,
                "codec " + std::string(codec) + ": got no rounding source, want one");
}

}  // namespace rivulet
