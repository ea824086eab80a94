#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// One update, seen not owned: the values of each tensor in manifest order, as the mapped upload or
// the ParameterSet holds them. They must outlive the view and stay unchanged while it is used.
using UpdateView = std::vector<std::span<const float>>;
UpdateView ViewOf(const ParameterSet& update);  // F32 tensors only; aborts on another dtype

struct WeightedUpdate {
  UpdateView values;   // delta = trained minus received
  int64_t weight = 1;  // >= 1
};

// The exact weighted sum of a round: every w * delta is rounded to the nearest multiple of 2^-24,
// ties to even, as if computed without limits, and summed in int64. Integers commute, so the sum is
// the same whatever the order of arrival, however it is split over sums, and after a restart.
//
// |delta| < 128 and sum of weights < 2^31 keep every sum below 2^62: it cannot overflow. Whatever
// is refused has changed nothing. 8 bytes of memory for each number. Not thread safe.
class FixedPointSum {
 public:
  static constexpr int kFractionBits = 24;
  static constexpr float kValueLimit = 128.0f;               // |delta| is below it
  static constexpr int64_t kWeightLimit = int64_t{1} << 31;  // the sum of weights is below it

  // Errors: InvalidArgument naming the first tensor that is not F32.
  static absl::StatusOr<FixedPointSum> Make(const Manifest& manifest);

  // Adds one update. Reads it once; should a bad value show up halfway, what was added is taken
  // back, which integers allow exactly.
  // Errors: InvalidArgument naming tensor, index and value (NaN, infinite, |delta| >= 128), or the
  // weight; a shape that is not the manifest's; OutOfRange when the weights would reach 2^31.
  absl::Status Add(const UpdateView& update, int64_t weight);
  absl::Status Add(const ParameterSet& update, int64_t weight);

  // Adds several updates block by block, so that the sum travels to memory and back once for all:
  // the way to close a round. All or nothing; errors as Add, with "update <position>: " before.
  absl::Status AddAll(std::span<const WeightedUpdate> updates);

  // For an upload that arrives in pieces: Check() every piece as it comes (`first` is the position
  // of its first value in the tensor), and only when all are there AddWeight() once and AddPiece()
  // each. AddPiece checks its piece once more before touching the sum.
  // Errors: as Add; OutOfRange when the piece leaves its tensor; FailedPrecondition from AddPiece
  // when no weight of that size was announced.
  absl::Status Check(size_t tensor, size_t first, std::span<const float> values) const;
  absl::Status AddWeight(int64_t weight);
  absl::Status AddPiece(size_t tensor, size_t first, std::span<const float> values, int64_t weight);

  // Adds another sum of the same manifest. Errors: InvalidArgument, OutOfRange as above.
  absl::Status Merge(const FixedPointSum& other);

  // sum / (2^24 * weights) in binary64, rounded once to F32, in manifest order.
  // Errors: FailedPrecondition when nothing was added.
  absl::StatusOr<ParameterSet> Mean() const;

  const Manifest& manifest() const { return manifest_; }
  int64_t weight() const { return weight_; }  // sum of all weights
  // The words themselves, in units of 2^-24.
  std::span<const int64_t> words(size_t tensor) const;

 private:
  struct Block;
  explicit FixedPointSum(const Manifest& manifest);
  std::vector<Block> Blocks() const;
  absl::Status CheckShape(const UpdateView& update) const;
  absl::Status CheckWeight(int64_t weight, int64_t sum) const;
  absl::Status CheckPiece(size_t tensor, size_t first, size_t count) const;
  absl::Status AddBlocks(std::span<const WeightedUpdate> updates, size_t& position);
  absl::Status AddGroup(const Block& block, std::span<const WeightedUpdate> group, size_t& bad);
  absl::Status AddBlock(const Block& block, const WeightedUpdate& update, int64_t sign);
  void TakeBack(std::span<const Block> blocks, size_t end, std::span<const WeightedUpdate> updates,
                size_t done);
  int64_t* WordsAt(size_t tensor, size_t first) { return words_.data() + offsets_[tensor] + first; }

  Manifest manifest_;
  std::vector<size_t> offsets_;  // of each tensor in words_, and the end
  std::vector<int64_t> words_;
  int64_t weight_ = 0;
};

}  // namespace rivulet
