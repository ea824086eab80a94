#include "aggregation/fixed_point_sum.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string>
#include <utility>

#include "aggregation/fixed_point_kernel.h"

namespace rivulet {
namespace {

// Values handled at a time: 32 KiB of one update and 64 KiB of the sum stay in the second-level
// cache while the updates of a round pass by.
constexpr size_t kBlock = 8192;
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

}  // namespace

// One run of values of one tensor.
struct FixedPointSum::Block {
  size_t tensor;
  size_t first;
  size_t count;
};

std::vector<FixedPointSum::Block> FixedPointSum::Blocks() const {
  std::vector<Block> blocks;
  for (size_t tensor = 0; tensor < manifest_.size(); ++tensor) {
    const size_t size = words(tensor).size();
    for (size_t first = 0; first < size; first += kBlock) {
      blocks.push_back({tensor, first, std::min(kBlock, size - first)});
    }
  }
  return blocks;
}

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
  const WeightedUpdate one{update, weight};
  size_t position = 0;
  return AddBlocks({&one, 1}, position);
}

absl::Status FixedPointSum::AddAll(std::span<const WeightedUpdate> updates) {
  size_t position = 0;
  const absl::Status added = AddBlocks(updates, position);
  return Annotate(added, "update " + std::to_string(position));
}

// `position` is that of the update an error is about.
absl::Status FixedPointSum::AddBlocks(std::span<const WeightedUpdate> updates, size_t& position) {
  int64_t weight = weight_;
  for (position = 0; position < updates.size(); ++position) {
    RV_RETURN_IF_ERROR(CheckShape(updates[position].values));
    RV_RETURN_IF_ERROR(CheckWeight(updates[position].weight, weight));
    weight += updates[position].weight;
  }
  const std::vector<Block> blocks = Blocks();
  for (size_t block = 0; block < blocks.size(); ++block) {
    for (size_t first = 0; first < updates.size(); first += kMostTogether) {
      const auto group = updates.subspan(first, std::min(kMostTogether, updates.size() - first));
      size_t bad = 0;
      const absl::Status added = AddGroup(blocks[block], group, bad);
      if (added.ok()) continue;
      TakeBack(blocks, block, updates, first);
      position = first + bad;
      return added;
    }
  }
  weight_ = weight;
  return absl::OkStatus();
}

// Adds one block of up to kMostTogether updates, or nothing when the one at position `bad` holds a
// value out of range.
absl::Status FixedPointSum::AddGroup(const Block& block, std::span<const WeightedUpdate> group,
                                     size_t& bad) {
  std::array<ScaledValues, kMostTogether> scaled;
  bool together = true;
  for (size_t each = 0; each < group.size(); ++each) {
    const WeightedUpdate& update = group[each];
    together = together && update.weight <= kWeightTogether;
    scaled[each] = {update.values[block.tensor].data() + block.first,
                    std::ldexp(static_cast<double>(update.weight), kFractionBits)};
  }
  if (together) {
    const std::span terms(scaled.data(), group.size());
    int64_t* words = WordsAt(block.tensor, block.first);
    if (AddTogether(terms, block.count, words) < kLimitBits) return absl::OkStatus();
    SubtractTogether(terms, block.count, words);
  }
  for (bad = 0; bad < group.size(); ++bad) {
    const absl::Status added = AddBlock(block, group[bad], 1);
    if (added.ok()) continue;
    for (const WeightedUpdate& before : group.first(bad)) (void)AddBlock(block, before, -1);
    return added;
  }
  return absl::OkStatus();
}

// Adds `sign` times one block of an update, or nothing when it holds a value out of range.
absl::Status FixedPointSum::AddBlock(const Block& block, const WeightedUpdate& update,
                                     int64_t sign) {
  const std::span values = update.values[block.tensor].subspan(block.first, block.count);
  const uint32_t magnitude = LargestMagnitudeBits(values);
  if (magnitude >= kLimitBits) {
    return OutOfRangeValue(manifest_[block.tensor], block.first, values);
  }
  AddRounded(values, sign * update.weight, magnitude, WordsAt(block.tensor, block.first));
  return absl::OkStatus();
}

// Undoes every block before `end` of every update, and block `end` of the first `done` updates.
// Cannot fail: those blocks were in range a moment ago.
void FixedPointSum::TakeBack(std::span<const Block> blocks, size_t end,
                             std::span<const WeightedUpdate> updates, size_t done) {
  for (size_t block = 0; block <= end; ++block) {
    const size_t count = block < end ? updates.size() : done;
    for (const WeightedUpdate& update : updates.first(count)) {
      (void)AddBlock(blocks[block], update, -1);
    }
  }
}

absl::Status FixedPointSum::CheckPiece(size_t tensor, size_t first, size_t count) const {
  if (tensor >= manifest_.size()) {
    return Refuse(absl::StatusCode::kOutOfRange, "tensor: got " + std::to_string(tensor) +
                                                     ", want below " +
                                                     std::to_string(manifest_.size()));
  }
  const size_t size = words(tensor).size();
  if (first <= size && count <= size - first) return absl::OkStatus();
  return Refuse(absl::StatusCode::kOutOfRange,
                manifest_[tensor].name + ": got " + std::to_string(count) + " values at " +
                    std::to_string(first) + ", want them within " + std::to_string(size));
}

absl::Status FixedPointSum::Check(size_t tensor, size_t first,
                                  std::span<const float> values) const {
  RV_RETURN_IF_ERROR(CheckPiece(tensor, first, values.size()));
  if (LargestMagnitudeBits(values) < kLimitBits) return absl::OkStatus();
  return OutOfRangeValue(manifest_[tensor], first, values);
}

absl::Status FixedPointSum::AddWeight(int64_t weight) {
  RV_RETURN_IF_ERROR(CheckWeight(weight, weight_));
  weight_ += weight;
  return absl::OkStatus();
}

absl::Status FixedPointSum::AddPiece(size_t tensor, size_t first, std::span<const float> values,
                                     int64_t weight) {
  RV_RETURN_IF_ERROR(Check(tensor, first, values));
  if (weight < 1 || weight > weight_) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "weight: got " + std::to_string(weight) + ", want one announced by AddWeight");
  }
  AddRounded(values, weight, LargestMagnitudeBits(values), WordsAt(tensor, first));
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
  const double divisor = std::ldexp(static_cast<double>(weight_), kFractionBits);
  ParameterSet mean(manifest_);
  for (size_t tensor = 0; tensor < mean.size(); ++tensor) {
    const std::span<const int64_t> sums = words(tensor);
    const std::span<float> out = mean.floats(tensor);
    for (size_t index = 0; index < out.size(); ++index) {
      out[index] = static_cast<float>(static_cast<double>(sums[index]) / divisor);
    }
  }
  return mean;
}

}  // namespace rivulet
