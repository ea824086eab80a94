#include "common/direction/cuda/direction_cuda.h"

#include <cuda_runtime_api.h>

#include <cmath>
#include <string>
#include <vector>

#include "common/direction/cuda/cuda_status.h"
#include "common/direction/cuda/kernels.h"

namespace rivulet {
namespace {

using direction_cuda::Draws;
using direction_cuda::Recipe;
using direction_cuda::Section;
using direction_cuda::StreamKey;

StreamKey KeyOf(const RandomStream& stream, float coefficient = 0) {
  return {{stream.key().word[0], stream.key().word[1]}, stream.lane(), coefficient};
}

StreamKey KeyOf(const DirectionAddress& z, Purpose purpose, float coefficient = 0) {
  return KeyOf(RandomStream(z.root, purpose, z.index), coefficient);
}

Recipe RecipeOf(const DirectionAddress& z) {
  if (z.settings.kind == DirectionKind::kLowRank) {
    const int rank = z.settings.rank;
    return {Draws::kProducts, rank, static_cast<float>(1 / std::sqrt(static_cast<double>(rank))),
            KeyOf(z, Purpose::kLeftFactor), KeyOf(z, Purpose::kRightFactor)};
  }
  const Draws draws = z.settings.kind == DirectionKind::kGauss ? Draws::kNormals : Draws::kSigns;
  return {draws, 1, 1, KeyOf(z, Purpose::kDirection), {}};
}

absl::Status Check(const DirectionAddress& z, std::span<const DevicePart> parts) {
  if (z.settings.kind == DirectionKind::kSubspace || z.settings.kind == DirectionKind::kFlipped) {
    return Refuse(absl::StatusCode::kUnimplemented,
                  "direction: got kind subspace or flipped, which the CPU alone draws; want "
                  "another kind");
  }
  if (z.settings.renewal != 1) {
    return Refuse(absl::StatusCode::kUnimplemented, "direction.renewal: got " +
                                                        std::to_string(z.settings.renewal) +
                                                        ", which the CPU alone draws; want 1");
  }
  if (z.settings.rank < 1 || z.settings.rank > 1024) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "direction.rank: got " + std::to_string(z.settings.rank) + ", want 1..1024");
  }
  for (const DevicePart& part : parts) {
    const int64_t first = part.part.first, elements = part.part.elements();
    if (first < 0 || part.count < 0 || part.count > elements - first) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "part of tensor " + std::to_string(part.part.tensor) + ": got elements " +
                        std::to_string(first) + " .. " + std::to_string(first + part.count) +
                        ", want them within 0 .. " + std::to_string(elements));
    }
  }
  return absl::OkStatus();
}

std::vector<Section> SectionsOf(std::span<const DevicePart> parts) {
  std::vector<Section> sections;
  for (const DevicePart& part : parts) {
    sections.push_back({part.part.tensor, part.part.rows, part.part.columns, part.part.first,
                        part.count, part.offset});
  }
  return sections;
}

// Checks, and gives `launch` the sections and the stream.
template <typename Launch>
absl::Status Enqueue(const DirectionAddress& z, std::span<const DevicePart> parts, void* stream,
                     Launch launch) {
  RV_RETURN_IF_ERROR(Check(z, parts));
  const std::vector<Section> sections = SectionsOf(parts);
  return CudaStatus(
      launch(direction_cuda::Sections{sections.data(), static_cast<int>(sections.size())},
             static_cast<cudaStream_t>(stream)));
}

template <typename Cell>
absl::Status Add(const DirectionAddress& z, std::span<const DevicePart> parts, float scale,
                 const Cell* base, Cell* out, void* stream) {
  return Enqueue(z, parts, stream, [&](direction_cuda::Sections sections, cudaStream_t to) {
    return direction_cuda::LaunchAdd(RecipeOf(z), sections, scale, base, out, to);
  });
}

template <typename Cell>
absl::Status MoveAndAdd(const MoveAndPerturb& step, std::span<const DevicePart> parts, Cell* w,
                        Cell* out, void* stream) {
  const DirectionSettings &now = step.z.settings, &then = step.next.settings;
  if (now.kind != then.kind || now.rank != then.rank) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "next.settings: got another kind or rank than z has, want the same");
  }
  return Enqueue(step.z, parts, stream, [&](direction_cuda::Sections sections, cudaStream_t to) {
    return direction_cuda::LaunchMoveAndAdd(RecipeOf(step.z), step.move, RecipeOf(step.next),
                                            step.scale, sections, w, out, to);
  });
}

}  // namespace

absl::Status CheckCuda() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error == cudaSuccess && devices > 0) return absl::OkStatus();
  return Refuse(absl::StatusCode::kFailedPrecondition,
                std::string("CUDA device: got none, want one (") + cudaGetErrorString(error) + ")");
}

absl::Status FillWordsCuda(const RandomStream& words, uint32_t tensor, uint64_t first_block,
                           std::span<uint32_t> out, void* stream) {
  return CudaStatus(direction_cuda::LaunchWords(KeyOf(words), tensor, first_block,
                                                static_cast<int64_t>(out.size() / 4), out.data(),
                                                static_cast<cudaStream_t>(stream)));
}

absl::Status FillDirectionCuda(const DirectionAddress& z, std::span<const DevicePart> parts,
                               float* out, void* stream) {
  return Enqueue(z, parts, stream, [&](direction_cuda::Sections sections, cudaStream_t to) {
    return direction_cuda::LaunchFill(RecipeOf(z), sections, out, to);
  });
}

absl::Status AddDirectionCuda(const DirectionAddress& z, std::span<const DevicePart> parts,
                              float scale, const float* base, float* out, void* stream) {
  return Add(z, parts, scale, base, out, stream);
}
absl::Status AddDirectionCuda(const DirectionAddress& z, std::span<const DevicePart> parts,
                              float scale, const uint16_t* base, uint16_t* out, void* stream) {
  return Add(z, parts, scale, base, out, stream);
}

absl::Status MoveAndPerturbCuda(const MoveAndPerturb& step, std::span<const DevicePart> parts,
                                float* w, float* out, void* stream) {
  return MoveAndAdd(step, parts, w, out, stream);
}
absl::Status MoveAndPerturbCuda(const MoveAndPerturb& step, std::span<const DevicePart> parts,
                                uint16_t* w, uint16_t* out, void* stream) {
  return MoveAndAdd(step, parts, w, out, stream);
}

absl::Status ReplayDirectionsCuda(const DirectionAddress& first,
                                  std::span<const float> coefficients,
                                  std::span<const DevicePart> parts, float* w, void* stream) {
  const bool low_rank = first.settings.kind == DirectionKind::kLowRank;
  const size_t most = low_rank ? 65535 : INT32_MAX;
  if (coefficients.size() > most) {
    return Refuse(absl::StatusCode::kInvalidArgument, "coefficients: got " +
                                                          std::to_string(coefficients.size()) +
                                                          ", want at most " + std::to_string(most));
  }
  std::vector<StreamKey> keys, rights;
  DirectionAddress z = first;
  for (float coefficient : coefficients) {
    keys.push_back(KeyOf(z, low_rank ? Purpose::kLeftFactor : Purpose::kDirection, coefficient));
    if (low_rank) rights.push_back(KeyOf(z, Purpose::kRightFactor));
    ++z.index;
  }
  return Enqueue(first, parts, stream, [&](direction_cuda::Sections sections, cudaStream_t to) {
    return direction_cuda::LaunchReplay(RecipeOf(first), keys.data(), rights.data(),
                                        static_cast<int>(keys.size()), sections, w, to);
  });
}

}  // namespace rivulet
