// What a build without CUDA links in place of direction_cuda.cc and rank_one_replay_cuda.cc.
#include "common/direction/cuda/direction_cuda.h"
#include "common/direction/cuda/rank_one_replay_cuda.h"

namespace rivulet {
namespace {

absl::Status NoCuda() {
  return Refuse(absl::StatusCode::kUnimplemented,
                "CUDA: got a build without it, want one configured where nvcc is found");
}

}  // namespace

absl::Status CheckCuda() { return NoCuda(); }

absl::Status FillWordsCuda(const RandomStream&, uint32_t, uint64_t, std::span<uint32_t>, void*) {
  return NoCuda();
}
absl::Status FillDirectionCuda(const DirectionAddress&, std::span<const DevicePart>, float*,
                               void*) {
  return NoCuda();
}
absl::Status AddDirectionCuda(const DirectionAddress&, std::span<const DevicePart>, float,
                              const float*, float*, void*) {
  return NoCuda();
}
absl::Status AddDirectionCuda(const DirectionAddress&, std::span<const DevicePart>, float,
                              const uint16_t*, uint16_t*, void*) {
  return NoCuda();
}
absl::Status MoveAndPerturbCuda(const MoveAndPerturb&, std::span<const DevicePart>, float*, float*,
                                void*) {
  return NoCuda();
}
absl::Status MoveAndPerturbCuda(const MoveAndPerturb&, std::span<const DevicePart>, uint16_t*,
                                uint16_t*, void*) {
  return NoCuda();
}
absl::Status ReplayDirectionsCuda(const DirectionAddress&, std::span<const float>,
                                  std::span<const DevicePart>, float*, void*) {
  return NoCuda();
}

struct RankOneReplayCuda::Device {};
RankOneReplayCuda::RankOneReplayCuda(std::unique_ptr<Device> device) : device_(std::move(device)) {}
RankOneReplayCuda::~RankOneReplayCuda() = default;
absl::StatusOr<std::unique_ptr<RankOneReplayCuda>> RankOneReplayCuda::Make() { return NoCuda(); }
absl::Status RankOneReplayCuda::Add(const DirectionAddress&, const FixedPoint&, const TensorPart&,
                                    float*, void*) {
  return NoCuda();
}

}  // namespace rivulet
