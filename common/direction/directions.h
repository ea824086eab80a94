#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "common/direction/direction.h"
#include "common/direction/low_rank.h"
#include "common/status.h"

namespace rivulet {

// All directions of one root over the tensors of a manifest, whose numbers lie in flat buffers
// [size()], one tensor after the other. Who knows root and settings can draw any of them by its
// index. Immutable; safe from many threads.
class Directions {
 public:
  // With `splits` > 1 every direction is 0 but in the tensors number split, split + splits, ... of
  // the manifest.
  Directions(const DirectionSettings& settings, uint64_t root, const Manifest& manifest,
             int split = 0, int splits = 1);

  int64_t size() const { return size_; }

  // out = base + scale * z, rounded once; out may be base.
  void Perturb(uint64_t index, float scale, std::span<const float> base,
               std::span<float> out) const;
  // The same for tensor number `tensor` of the manifest alone, base and out [its elements].
  void PerturbTensor(uint64_t index, float scale, size_t tensor, std::span<const float> base,
                     std::span<float> out) const;
  // What z is for the matrix `tensor`, where the settings are of a rank (kLowRank, kSubspace);
  // nothing where it is 0 (of another split).
  std::optional<LowRankFactors> FactorsOf(uint64_t index, size_t tensor) const;
  // Whether z is other than 0 in that tensor (of the split).
  bool Moves(size_t tensor) const { return tensors_[tensor].moves; }
  // Sum of gradient * z: the slope along z that a difference of two losses estimates.
  double Dot(uint64_t index, std::span<const float> gradient) const;
  // values += factors[j] * z of indices[j] for j = 0, 1, ..., each rounded once. One pass over the
  // values, whatever the number of directions; in subspaces one for all that follow each other in
  // the same one, whose sum is added (AddInSubspace).
  void Move(std::span<const uint64_t> indices, std::span<const float> factors,
            std::span<float> values) const;
  // The same of numbers that lie apart: one span for each tensor of the manifest.
  void Move(std::span<const uint64_t> indices, std::span<const float> factors,
            std::span<const std::span<float>> tensors) const;
  // values += the sum of factors[j] * z of index j, j = 0, 1, ...: for directions of rank one that
  // share no factor in whole numbers, exact in any order (rank_one_replay.h); for others as Move
  // has it, each factor rounded to binary32 and zeros left out. Errors: InvalidArgument for a
  // factor that is not finite; Aborted when `cancelled`, which is polled every few milliseconds and
  // may be empty: some values are then moved.
  absl::Status Replay(std::span<const double> factors, std::span<float> values,
                      const std::function<bool()>& cancelled = {}) const;

 private:
  absl::Status MoveUnless(const std::function<bool()>& cancelled, std::span<const uint64_t> indices,
                          std::span<const float> factors,
                          std::span<const std::span<float>> tensors) const;
  absl::Status MoveInSubspaces(const std::function<bool()>& cancelled,
                               std::span<const uint64_t> indices, std::span<const float> factors,
                               std::span<const std::span<float>> tensors) const;
  std::vector<std::span<float>> Apart(std::span<float> values) const;

  struct Placed {
    TensorPart part;
    size_t offset;
    bool moves;  // of the split
  };

  DirectionSettings settings_;
  uint64_t root_;
  std::vector<Placed> tensors_;
  int64_t size_ = 0;
};

// The numbers of all tensors in such a buffer. F32 only.
std::vector<float> FlatOf(const ParameterSet& set);

}  // namespace rivulet
