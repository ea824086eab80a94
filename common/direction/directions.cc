#include "common/direction/directions.h"

#include <algorithm>
#include <memory>

#include "common/direction/rank_one_replay.h"
#include "common/direction/subspace.h"

namespace rivulet {
namespace {

// Values that all directions pass over before the next ones: 8 KiB, beside as much of z.
constexpr size_t kMovedTogether = 2048;
// Directions of such a piece between two looks at a cancellation: milliseconds.
constexpr size_t kPolledDirections = 4096;

}  // namespace

Directions::Directions(const DirectionSettings& settings, uint64_t root, const Manifest& manifest,
                       int split, int splits)
    : settings_(settings), root_(root) {
  for (const TensorPart& part : PartsOf(manifest)) {
    const bool moves = static_cast<int>(part.tensor) % splits == split;
    tensors_.push_back({part, static_cast<size_t>(size_), moves});
    size_ += part.elements();
  }
}

void Directions::Perturb(uint64_t index, float scale, std::span<const float> base,
                         std::span<float> out) const {
  for (size_t tensor = 0; tensor < tensors_.size(); ++tensor) {
    const size_t offset = tensors_[tensor].offset;
    const auto count = static_cast<size_t>(tensors_[tensor].part.elements());
    PerturbTensor(index, scale, tensor, base.subspan(offset, count), out.subspan(offset, count));
  }
}

void Directions::PerturbTensor(uint64_t index, float scale, size_t tensor,
                               std::span<const float> base, std::span<float> out) const {
  if (tensors_[tensor].moves) {
    AddDirection(*MakeDirection(settings_, root_, index), tensors_[tensor].part, scale, base, out);
  } else if (out.data() != base.data()) {
    std::copy(base.begin(), base.end(), out.begin());
  }
}

std::optional<LowRankFactors> Directions::FactorsOf(uint64_t index, size_t tensor) const {
  const Placed& placed = tensors_[tensor];
  if (!placed.moves) return std::nullopt;
  if (settings_.kind == DirectionKind::kSubspace) {
    return SubspaceDirection(settings_, root_, index).Factors(placed.part);
  }
  if (settings_.kind != DirectionKind::kLowRank) return std::nullopt;
  return LowRankDirectionOf(settings_, root_, index).Factors(placed.part);
}

double Directions::Dot(uint64_t index, std::span<const float> gradient) const {
  const auto z = MakeDirection(settings_, root_, index);
  double sum = 0;
  for (const Placed& tensor : tensors_) {
    const auto count = static_cast<size_t>(tensor.part.elements());
    if (tensor.moves) sum += DotDirection(*z, tensor.part, gradient.subspan(tensor.offset, count));
  }
  return sum;
}

std::vector<std::span<float>> Directions::Apart(std::span<float> values) const {
  std::vector<std::span<float>> tensors;
  for (const Placed& tensor : tensors_) {
    tensors.push_back(values.subspan(tensor.offset, static_cast<size_t>(tensor.part.elements())));
  }
  return tensors;
}

void Directions::Move(std::span<const uint64_t> indices, std::span<const float> factors,
                      std::span<float> values) const {
  Move(indices, factors, Apart(values));
}

void Directions::Move(std::span<const uint64_t> indices, std::span<const float> factors,
                      std::span<const std::span<float>> tensors) const {
  MoveUnless({}, indices, factors, tensors).IgnoreError();  // nobody cancels it
}

absl::Status Directions::MoveUnless(const std::function<bool()>& cancelled,
                                    std::span<const uint64_t> indices,
                                    std::span<const float> factors,
                                    std::span<const std::span<float>> tensors) const {
  if (settings_.kind == DirectionKind::kSubspace) {
    return MoveInSubspaces(cancelled, indices, factors, tensors);
  }
  std::vector<std::unique_ptr<const Direction>> drawn;
  for (const uint64_t index : indices) drawn.push_back(MakeDirection(settings_, root_, index));
  for (size_t tensor = 0; tensor < tensors_.size(); ++tensor) {
    if (!Moves(tensor)) continue;
    const std::span<float> values = tensors[tensor];
    for (size_t first = 0; first < values.size(); first += kMovedTogether) {
      TensorPart part = tensors_[tensor].part;
      part.first = static_cast<int64_t>(first);
      const auto piece = values.subspan(first, std::min(kMovedTogether, values.size() - first));
      for (size_t j = 0; j < drawn.size(); ++j) {
        if (j % kPolledDirections == 0 && cancelled && cancelled()) {
          return absl::AbortedError("replay: cancelled");
        }
        AddDirection(*drawn[j], part, factors[j], piece);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Directions::MoveInSubspaces(const std::function<bool()>& cancelled,
                                         std::span<const uint64_t> indices,
                                         std::span<const float> factors,
                                         std::span<const std::span<float>> tensors) const {
  const auto renewal = static_cast<uint64_t>(settings_.renewal);
  for (size_t first = 0, end = 0; first < indices.size(); first = end) {
    const uint64_t shared = indices[first] / renewal;
    while (end < indices.size() && indices[end] / renewal == shared) ++end;
    for (size_t tensor = 0; tensor < tensors_.size(); ++tensor) {
      if (!Moves(tensor)) continue;
      if (cancelled && cancelled()) return absl::AbortedError("replay: cancelled");
      AddInSubspace(settings_, root_, indices.subspan(first, end - first),
                    factors.subspan(first, end - first), tensors_[tensor].part, tensors[tensor]);
    }
  }
  return absl::OkStatus();
}

absl::Status Directions::Replay(std::span<const double> factors, std::span<float> values,
                                const std::function<bool()>& cancelled) const {
  const bool rank_one =
      settings_.kind == DirectionKind::kLowRank && settings_.rank == 1 && settings_.renewal == 1;
  RV_ASSIGN_OR_RETURN(const FixedPoint fixed, ToFixedPoint(factors));
  if (!rank_one) {
    std::vector<uint64_t> indices;
    std::vector<float> rounded;
    for (size_t j = 0; j < factors.size(); ++j) {
      if (factors[j] == 0) continue;
      indices.push_back(j);
      rounded.push_back(static_cast<float>(factors[j]));
    }
    return MoveUnless(cancelled, indices, rounded, Apart(values));
  }
  for (const Placed& tensor : tensors_) {
    if (!tensor.moves) continue;
    const auto count = static_cast<size_t>(tensor.part.elements());
    RV_RETURN_IF_ERROR(AddRankOneReplay(root_, 0, fixed, tensor.part,
                                        values.subspan(tensor.offset, count), cancelled));
  }
  return absl::OkStatus();
}

std::vector<float> FlatOf(const ParameterSet& set) {
  std::vector<float> values;
  values.reserve(SizeBytesOf(set.manifest()) /
                 sizeof(float));  // a model may be large: no spare room
  for (size_t row = 0; row < set.size(); ++row) {
    values.insert(values.end(), set.floats(row).begin(), set.floats(row).end());
  }
  return values;
}

}  // namespace rivulet
