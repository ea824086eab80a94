#pragma once

#include <cstdint>
#include <span>

#include "common/direction/direction.h"
#include "common/status.h"

// CUDA twins of common/direction: the same bits as on the CPU, drawn in registers. Buffers are
// device memory, contiguous; where base, out and offset are multiples of 16 bytes, 16 bytes are
// moved at once. `stream` is a cudaStream_t, on which everything is enqueued and any workspace (of
// low-rank directions and replays) is taken and given back.
//
// Errors of all: Unimplemented where the build has no CUDA, and for directions of kind kSubspace or
// kFlipped, which the CPU alone draws; InvalidArgument naming what is out of range; Internal with
// CUDA's words when memory or a launch is refused. What goes wrong inside a kernel shows at the
// next synchronisation.

namespace rivulet {

// Whether directions can be drawn on a device here. FailedPrecondition: no device, or none that the
// driver will use.
absl::Status CheckCuda();

// Elements part.first .. part.first + count - 1 of a tensor, in buffers of many tensors from
// `offset` on.
struct DevicePart {
  TensorPart part;
  int64_t count = 0;
  int64_t offset = 0;
};
// All of a manifest in one buffer, tensor after tensor, as Directions has it.
std::vector<DevicePart> DevicePartsOf(const Manifest& manifest);

// What MakeDirection(settings, root, index) draws.
struct DirectionAddress {
  DirectionSettings settings;
  uint64_t root = 0;
  uint64_t index = 0;
};

// out [4 blocks] = the words of RandomStream::Block(first_block), ...
absl::Status FillWordsCuda(const RandomStream& words, uint32_t tensor, uint64_t first_block,
                           std::span<uint32_t> out, void* stream);

// Over all of `parts`, each with one launch for 40 of them:

// out = z.
absl::Status FillDirectionCuda(const DirectionAddress& z, std::span<const DevicePart> parts,
                               float* out, void* stream);

// out = fma(scale, z, base); out may be base. bfloat16 is rounded to nearest even.
absl::Status AddDirectionCuda(const DirectionAddress& z, std::span<const DevicePart> parts,
                              float scale, const float* base, float* out, void* stream);
absl::Status AddDirectionCuda(const DirectionAddress& z, std::span<const DevicePart> parts,
                              float scale, const uint16_t* base, uint16_t* out, void* stream);

// The end of a step and the start of the next in one pass, which halves the bytes moved:
// w = fma(move, z, w), then out = fma(scale, next, w). out may be w: then the rounded w is not
// seen. `next` has the settings of z.
struct MoveAndPerturb {
  DirectionAddress z;
  float move = 0;
  DirectionAddress next;
  float scale = 0;
};
absl::Status MoveAndPerturbCuda(const MoveAndPerturb& step, std::span<const DevicePart> parts,
                                float* w, float* out, void* stream);
absl::Status MoveAndPerturbCuda(const MoveAndPerturb& step, std::span<const DevicePart> parts,
                                uint16_t* w, uint16_t* out, void* stream);

// w += sum of coefficients[k] z_k over the directions first.index + k: what Directions::Move
// makes of zeros, added once. `coefficients` is host memory, at most 2^31 - 1, 65535 if low-rank;
// workspace: 16 bytes a direction, and (m + n) r bits a direction for low-rank matrices.
absl::Status ReplayDirectionsCuda(const DirectionAddress& first,
                                  std::span<const float> coefficients,
                                  std::span<const DevicePart> parts, float* w, void* stream);

}  // namespace rivulet
