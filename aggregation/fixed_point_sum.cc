#include "aggregation/fixed_point_sum.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string>
#include <utility>

#include "aggregation/fixed_point_kernel.h"
#include "aggregation/parallel.h"

namespace rivulet {
namespace {

// Values handled at a time: 32 KiB of one update and 64 KiB of the sum stay in the second-level
// cache while the updates of a round pass by.
constexpr size_t kBlock = 8192;
constexpr size_t kMeanGrain = size_t{1} << 18;  // values that are worth a thread
constexpr uint32_t kLimitBits = std::bit_cast<uint32_t>(FixedPointSum::kValueLimit);

bool InRange(float value) { return std::fabs(value) < FixedPointSum::kValueLimit; }  // NaN is not

// The values of a block are known to hold at least one out of range.
absl::Status OutOfRangeValue(const TensorSpec& spec, size_t first, std::span<const float> values) {
  const auto bad = std::find_if_not(values.begin(), values.end(), InRange);
  const size_t index = first + static_cast<size_t>(bad - values.begin());
  return Refuse(absl::StatusCode::kInvalidArgument,
                spec.name + "[" + std::to_string(index) + "]: got " + std::to_string(*bad) +
                    ", want a finite number with |delta| < 128");
}

// The part of each piece from `first` on.
std::vector<WeightedPiece> Cut(std::span<const WeightedPiece> pieces, size_t first, size_t count) {
  std::vector<WeightedPiece> cut;
  for (const WeightedPiece& piece : pieces) {
    cut.push_back({piece.values.subspan(first, count), piece.weight});
  }
  return cut;
}

}  // namespace

UpdateView ViewOf(const ParameterSet& update) {
  UpdateView view;
  for (size_t tensor = 0; tensor < update.size(); ++tensor) view.push_back(update.floats(tensor));
  return view;
}

absl::StatusOr<FixedPointSum> FixedPointSum::Make(const Manifest& manifest) {
  for (const TensorSpec& spec : manifest) {
    if (spec.dtype == DType::kF32) continue;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  spec.name + ": got dtype " + std::string(NameOf(spec.dtype)) + ", want F32");
  }
  return FixedPointSum(manifest);
}

FixedPointSum::FixedPointSum(const Manifest& manifest) : manifest_(manifest) {
  size_t end = 0;
  for (const TensorSpec& spec : manifest_) {
    offsets_.push_back(end);
    end += static_cast<size_t>(spec.elements());
  }
  offsets_.push_back(end);
  words_.resize(end);
}

std::span<const int64_t> FixedPointSum::words(size_t tensor) const {
  return std::span(words_).subspan(offsets_.at(tensor), offsets_.at(tensor + 1) - offsets_[tensor]);
}

absl::Status FixedPointSum::CheckShape(const UpdateView& update) const {
  if (update.size() != manifest_.size()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "update: got " + std::to_string(update.size()) + " tensors, want " +
                      std::to_string(manifest_.size()));
  }
  for (size_t tensor = 0; tensor < update.size(); ++tensor) {
    if (update[tensor].size() == words(tensor).size()) continue;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  manifest_[tensor].name + ": got " + std::to_string(update[tensor].size()) +
                      " values, want " + std::to_string(words(tensor).size()));
  }
  return absl::OkStatus();
}

absl::Status FixedPointSum::CheckWeight(int64_t weight, int64_t sum) const {
  if (weight < 1 || weight >= kWeightLimit) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "weight: got " + std::to_string(weight) + ", want 1 .. 2^31 - 1");
  }
  if (sum + weight >= kWeightLimit) {
    return Refuse(absl::StatusCode::kOutOfRange, "sum of weights: got " + std::to_string(sum) +
                                                     " + " + std::to_string(weight) +
                                                     ", want below 2^31");
  }
  return absl::OkStatus();
}

absl::Status FixedPointSum::Add(const ParameterSet& update, int64_t weight) {
  RV_RETURN_IF_ERROR(SameManifest(update.manifest(), manifest_));
  return Add(ViewOf(update), weight);
}

absl::Status FixedPointSum::Add(const UpdateView& update, int64_t weight) {
  RV_RETURN_IF_ERROR(CheckShape(update));
  for (size_t tensor = 0; tensor < update.size(); ++tensor) {
    RV_RETURN_IF_ERROR(CheckValues(tensor, 0, update[tensor]));
  }
  RV_RETURN_IF_ERROR(AddWeight(weight));
  for (size_t tensor = 0; tensor < update.size(); ++tensor) {
    const WeightedPiece whole{update[tensor], weight};
    RV_RETURN_IF_ERROR(AddPieces(tensor, 0, {&whole, 1}));
  }
  return absl::OkStatus();
}

absl::Status FixedPointSum::CheckValues(size_t tensor, size_t first,
                                        std::span<const float> values) const {
  if (LargestMagnitudeBits(values) < kLimitBits) return absl::OkStatus();
  return OutOfRangeValue(manifest_[tensor], first, values);
}

absl::Status FixedPointSum::AddWeight(int64_t weight) {
  RV_RETURN_IF_ERROR(CheckWeight(weight, weight_));
  weight_ += weight;
  return absl::OkStatus();
}

absl::Status FixedPointSum::CheckPieces(size_t tensor, size_t first,
                                        std::span<const WeightedPiece> pieces) const {
  if (tensor >= manifest_.size()) {
    return Refuse(absl::StatusCode::kOutOfRange, "tensor: got " + std::to_string(tensor) +
                                                     ", want below " +
                                                     std::to_string(manifest_.size()));
  }
  if (pieces.size() > kTogether) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "pieces: got " + std::to_string(pieces.size()) + ", want at most " +
                      std::to_string(kTogether));
  }
  const size_t size = words(tensor).size();
  for (const WeightedPiece& piece : pieces) {
    const size_t count = piece.values.size();
    if (first > size || count > size - first) {
      return Refuse(absl::StatusCode::kOutOfRange,
                    manifest_[tensor].name + ": got " + std::to_string(count) + " values at " +
                        std::to_string(first) + ", want them within " + std::to_string(size));
    }
    if (count != pieces[0].values.size()) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    manifest_[tensor].name + ": got pieces of " + std::to_string(count) + " and " +
                        std::to_string(pieces[0].values.size()) + " values, want one length");
    }
    if (piece.weight < 1 || piece.weight > weight_) {
      return Refuse(
          absl::StatusCode::kFailedPrecondition,
          "weight: got " + std::to_string(piece.weight) + ", want one announced by AddWeight");
    }
  }
  return absl::OkStatus();
}

absl::Status FixedPointSum::AddPieces(size_t tensor, size_t first,
                                      std::span<const WeightedPiece> pieces) {
  RV_RETURN_IF_ERROR(CheckPieces(tensor, first, pieces));
  const size_t count = pieces.empty() ? 0 : pieces[0].values.size();
  for (size_t done = 0; done < count; done += kBlock) {
    const auto block = Cut(pieces, done, std::min(kBlock, count - done));
    const absl::Status added = AddBlock(tensor, first + done, block);
    if (added.ok()) continue;
    // What came before was in range a moment ago: taking it back cannot fail.
    for (const WeightedPiece& piece : Cut(pieces, 0, done)) {
      (void)AddAlone(tensor, first, piece, -1);
    }
    return added;
  }
  return absl::OkStatus();
}

// Adds one block of every piece, or nothing when one of them holds a value out of range.
absl::Status FixedPointSum::AddBlock(size_t tensor, size_t first,
                                     std::span<const WeightedPiece> block) {
  static_assert(kTogether == kMostTogether);
  std::array<ScaledValues, kTogether> scaled;
  int64_t heaviest = 0;
  for (size_t each = 0; each < block.size(); ++each) {
    heaviest = std::max(heaviest, block[each].weight);
    scaled[each] = {block[each].values.data(),
                    std::ldexp(static_cast<double>(block[each].weight), kFractionBits)};
  }
  if (FitsDoubles(heaviest, 0)) {  // whether it does with these values shows on the way
    const std::span terms(scaled.data(), block.size());
    const size_t count = block[0].values.size();
    int64_t* words = WordsAt(tensor, first);
    const uint32_t largest = AddTogether(terms, count, words);
    if (largest < kLimitBits && FitsDoubles(heaviest, largest)) return absl::OkStatus();
    SubtractTogether(terms, count, words);
  }
  for (size_t bad = 0; bad < block.size(); ++bad) {
    const absl::Status added = AddAlone(tensor, first, block[bad], 1);
    if (added.ok()) continue;
    for (const WeightedPiece& before : block.first(bad)) {
      (void)AddAlone(tensor, first, before, -1);
    }
    return Annotate(added, "update " + std::to_string(bad));
  }
  return absl::OkStatus();
}

// Adds `sign` times a piece, or nothing when it holds a value out of range.
absl::Status FixedPointSum::AddAlone(size_t tensor, size_t first, const WeightedPiece& piece,
                                     int64_t sign) {
  const uint32_t magnitude = LargestMagnitudeBits(piece.values);
  if (magnitude >= kLimitBits) return OutOfRangeValue(manifest_[tensor], first, piece.values);
  AddRounded(piece.values, sign * piece.weight, magnitude, WordsAt(tensor, first));
  return absl::OkStatus();
}

absl::Status FixedPointSum::Merge(const FixedPointSum& other) {
  RV_RETURN_IF_ERROR(SameManifest(other.manifest_, manifest_));
  if (other.weight_ == 0) return absl::OkStatus();
  RV_RETURN_IF_ERROR(CheckWeight(other.weight_, weight_));
  weight_ += other.weight_;
  for (size_t word = 0; word < words_.size(); ++word) words_[word] += other.words_[word];
  return absl::OkStatus();
}

absl::StatusOr<ParameterSet> FixedPointSum::Mean() const {
  if (weight_ == 0) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "mean: got a sum of no updates, want at least one");
  }
  return MeanOver(static_cast<double>(weight_));
}

ParameterSet FixedPointSum::MeanOver(double count) const {
  const double divisor = std::ldexp(count, kFractionBits);
  ParameterSet mean(manifest_);
  ParallelTensors(offsets_, kMeanGrain, [&](size_t tensor, size_t begin, size_t end) {
    const std::span<const int64_t> sums = words(tensor);
    const std::span<float> out = mean.floats(tensor);
    for (size_t index = begin; index < end; ++index) {
      out[index] = static_cast<float>(static_cast<double>(sums[index]) / divisor);
    }
  });
  return mean;
}

}  // namespace rivulet
