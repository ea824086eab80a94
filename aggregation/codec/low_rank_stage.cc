#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

#include "aggregation/codec/linear.h"
#include "aggregation/codec/low_rank_parts.h"

namespace rivulet {
namespace {

class LowRankLeft : public LinearStage {
 public:
  LowRankLeft(const Manifest& manifest, uint32_t rank, uint64_t root, uint64_t index)
      : parts_(LowRankPartsOf(manifest, rank)) {
    for (size_t position = 0; position < parts_.size(); ++position) {
      const LowRankPart& part = parts_[position];
      factors_.push_back(PublicFactor(part, position, root, index));
      size_ += part.size();
      output_ += part.rank == 0 ? part.size() : part.rank * part.rows;
    }
  }

  std::string_view name() const override { return "low-rank-left"; }
  size_t OutputSize(size_t) const override { return output_; }

  // The P^T of all matrices, then the other tensors.
  void Project(std::span<const float> flat, std::span<float> out) const override {
    if (flat.size() != size_ || out.size() != output_) std::abort();
    for (size_t position = 0; position < parts_.size(); ++position) {
      const LowRankPart& part = parts_[position];
      if (part.rank == 0) continue;
      const size_t length = part.rank * part.rows;
      MultiplyLeft(part, flat.data() + part.offset, factors_[position], out.first(length));
      out = out.subspan(length);
    }
    for (const LowRankPart& part : parts_) {
      if (part.rank != 0) continue;
      std::copy_n(flat.begin() + part.offset, part.size(), out.begin());
      out = out.subspan(part.size());
    }
  }

  void Expand(std::span<const float> mean, std::span<float> flat) const override {
    if (flat.size() != size_ || mean.size() != output_) std::abort();
    for (size_t position = 0; position < parts_.size(); ++position) {
      const LowRankPart& part = parts_[position];
      if (part.rank == 0) continue;
      const size_t length = part.rank * part.rows;
      MultiplyOut(part, mean.first(length), factors_[position], flat.data() + part.offset);
      mean = mean.subspan(length);
    }
    for (const LowRankPart& part : parts_) {
      if (part.rank != 0) continue;
      std::copy_n(mean.begin(), part.size(), flat.begin() + part.offset);
      mean = mean.subspan(part.size());
    }
  }

 private:
  std::vector<LowRankPart> parts_;
  std::vector<std::vector<float>> factors_;  // Q^T of each matrix
  size_t size_ = 0, output_ = 0;
};

class LowRankRight : public LinearStage {
 public:
  LowRankRight(std::vector<LowRankPart> parts, std::span<const float> left_mean)
      : parts_(std::move(parts)) {
    for (const LowRankPart& part : parts_) {
      size_ += part.size();
      output_ += part.rank * part.columns;
      if (part.rank == 0) continue;
      const std::span<const float> left = left_mean.first(part.rank * part.rows);
      factors_.emplace_back(left.begin(), left.end());
      Orthonormalise(part.rank, factors_.back());
      left_mean = left_mean.subspan(left.size());
    }
    others_.assign(left_mean.begin(), left_mean.end());
  }

  std::string_view name() const override { return "low-rank-right"; }
  size_t OutputSize(size_t) const override { return output_; }

  void Project(std::span<const float> flat, std::span<float> out) const override {
    if (flat.size() != size_ || out.size() != output_) std::abort();
    size_t matrix = 0;
    for (const LowRankPart& part : parts_) {
      if (part.rank == 0) continue;
      const size_t length = part.rank * part.columns;
      MultiplyRight(part, flat.data() + part.offset, factors_[matrix++], out.first(length));
      out = out.subspan(length);
    }
  }

  void Expand(std::span<const float> mean, std::span<float> flat) const override {
    if (flat.size() != size_ || mean.size() != output_) std::abort();
    size_t matrix = 0;
    std::span<const float> others = others_;
    for (const LowRankPart& part : parts_) {
      if (part.rank == 0) {
        std::copy_n(others.begin(), part.size(), flat.begin() + part.offset);
        others = others.subspan(part.size());
        continue;
      }
      const size_t length = part.rank * part.columns;
      MultiplyOut(part, factors_[matrix++], mean.first(length), flat.data() + part.offset);
      mean = mean.subspan(length);
    }
  }

 private:
  std::vector<LowRankPart> parts_;
  std::vector<std::vector<float>> factors_;  // P^T of each matrix
  std::vector<float> others_;                // tensors that are no matrices
  size_t size_ = 0, output_ = 0;
};

}  // namespace

std::unique_ptr<LinearStage> NewLowRankLeft(const Manifest& manifest, uint32_t rank, uint64_t root,
                                            uint64_t index) {
  return std::make_unique<LowRankLeft>(manifest, rank, root, index);
}

absl::StatusOr<std::unique_ptr<LinearStage>> NewLowRankRight(const Manifest& manifest,
                                                             uint32_t rank,
                                                             std::span<const float> left_mean) {
  std::vector<LowRankPart> parts = LowRankPartsOf(manifest, rank);
  size_t wanted = 0;
  for (const LowRankPart& part : parts) {
    wanted += part.rank == 0 ? part.size() : part.rank * part.rows;
  }
  if (left_mean.size() != wanted) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "low-rank left factor: got " + std::to_string(left_mean.size()) +
                      " numbers, want " + std::to_string(wanted));
  }
  const auto bad = std::find_if_not(left_mean.begin(), left_mean.end(),
                                    [](float value) { return std::isfinite(value); });
  if (bad != left_mean.end()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "low-rank left factor[" + std::to_string(bad - left_mean.begin()) + "]: got " +
                      std::to_string(*bad) + ", want a finite number");
  }
  return std::make_unique<LowRankRight>(std::move(parts), left_mean);
}

}  // namespace rivulet
