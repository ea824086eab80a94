#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "common/tensor/large_pages.h"
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

// A stretch of one tensor of an update.
struct WeightedPiece {
  std::span<const float> values;
  int64_t weight = 1;  // of the update, >= 1
};

// The exact weighted sum of a round: every w * delta is rounded to the nearest multiple of 2^-24,
// ties to even, as if computed without limits, and summed in int64. Integers commute, so the sum is
// the same whatever the order of arrival, however it is split over sums, and after a restart.
//
// |delta| < 128 and sum of weights < 2^31 keep every sum below 2^62: it cannot overflow. Whatever
// is refused has changed nothing. 8 bytes of memory for each number. Not thread safe, but for
// AddPieces of stretches that do not overlap.
class FixedPointSum {
 public:
  static constexpr int kFractionBits = 24;
  static constexpr float kValueLimit = 128.0f;               // |delta| is below it
  static constexpr int64_t kWeightLimit = int64_t{1} << 31;  // the sum of weights is below it

  // Errors: InvalidArgument naming the first tensor that is not F32.
  static absl::StatusOr<FixedPointSum> Make(const Manifest& manifest);

  // Adds one update that is in memory as a whole.
  // Errors: InvalidArgument naming tensor, index and value (NaN, infinite, |delta| >= 128), or the
  // weight; a shape that is not the manifest's; OutOfRange when the weights would reach 2^31.
  absl::Status Add(const UpdateView& update, int64_t weight);
  absl::Status Add(const ParameterSet& update, int64_t weight);

  // For updates that arrive in pieces: AddWeight() once for each, then AddPieces() with the same
  // stretch, from position `first` of a tensor on, of up to kTogether updates at a time: the sum
  // travels to memory and back once for all of them.
  // Errors: as Add, with "update <position>: " in front of what is about one piece; OutOfRange when
  // the pieces leave their tensor; InvalidArgument for more than kTogether or pieces of different
  // lengths; FailedPrecondition when no weight of that size was announced.
  static constexpr size_t kTogether = 4;
  absl::Status AddWeight(int64_t weight);
  absl::Status AddPieces(size_t tensor, size_t first, std::span<const WeightedPiece> pieces);

  // Adds another sum of the same manifest. Errors: InvalidArgument, OutOfRange as above.
  absl::Status Merge(const FixedPointSum& other);

  // sum / (2^24 * weights) in binary64, rounded once to F32, in manifest order.
  // Errors: FailedPrecondition when nothing was added.
  absl::StatusOr<ParameterSet> Mean() const;

  // The same over a divisor that does not depend on who came, > 0, of whatever was added.
  ParameterSet MeanOver(double divisor) const;

  const Manifest& manifest() const { return manifest_; }
  int64_t weight() const { return weight_; }  // sum of all weights
  // The words themselves, in units of 2^-24.
  std::span<const int64_t> words(size_t tensor) const;
  // All of them, in manifest order, for whoever adds noise before they are divided.
  std::span<int64_t> words() { return {words_.data(), words_.size()}; }

 private:
  explicit FixedPointSum(const Manifest& manifest);
  absl::Status CheckShape(const UpdateView& update) const;
  absl::Status CheckWeight(int64_t weight, int64_t sum) const;
  absl::Status CheckValues(size_t tensor, size_t first, std::span<const float> values) const;
  absl::Status CheckPieces(size_t tensor, size_t first,
                           std::span<const WeightedPiece> pieces) const;
  absl::Status AddBlock(size_t tensor, size_t first, std::span<const WeightedPiece> block);
  absl::Status AddAlone(size_t tensor, size_t first, const WeightedPiece& piece, int64_t sign);
  int64_t* WordsAt(size_t tensor, size_t first) { return words_.data() + offsets_[tensor] + first; }

  Manifest manifest_;
  std::vector<size_t> offsets_;  // of each tensor in words_, and the end
  std::vector<int64_t, LargePages<int64_t>> words_;
  int64_t weight_ = 0;
};

}  // namespace rivulet
